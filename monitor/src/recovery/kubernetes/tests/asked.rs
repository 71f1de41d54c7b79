//! What is asked after a failure.

use super::*;

#[tokio::test]
async fn what_the_cluster_knows_of_a_failure_is_asked_where_that_is_allowed() {
    let evicted =
        json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}});
    for (answers, expected) in [
        (
            vec![("200 OK", json!({})), ("200 OK", evicted)],
            Some("Kubernetes evicted its pod: low on memory."),
        ),
        (
            vec![("404 Not Found", status("not found"))],
            Some("Kubernetes has no pod agents/writer-0 any more."),
        ),
        (vec![("403 Forbidden", status("pods is forbidden"))], None),
    ] {
        let server = Server::start(&answers).await;
        let dir = tempfile::tempdir().unwrap();
        let kubernetes = server.in_pod(dir.path());
        let said = kubernetes.what_happened(&runtime("agents/writer-0")).await;
        assert_eq!(said.as_deref(), expected);
        assert_eq!(server.asked().len(), answers.len());
    }
    let nowhere = Kubernetes::from_environment(&|_| None, runtime(""));
    assert_eq!(
        nowhere.what_happened(&runtime("agents/writer-0")).await,
        None
    );
}
