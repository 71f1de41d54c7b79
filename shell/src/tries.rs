//! Tries that overlap: who waits for the first answer does not wait for one that never comes.

use tokio::task::JoinSet;

/// The first that succeeds, or the error of the last; `None` without any. Those that are left go on.
pub async fn first<T: 'static, E: 'static>(
    tries: &mut JoinSet<Result<T, E>>,
) -> Option<Result<T, E>> {
    let mut last = None;
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(succeeded)) => return Some(Ok(succeeded)),
            Ok(failed) => last = Some(failed),
            Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
            Err(_) => {} // aborted: its set has ended
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_success_counts_and_else_the_last_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let mut tries: JoinSet<Result<u64, u64>> = JoinSet::new();
            assert_eq!(first(&mut tries).await, None);
            tries.spawn(std::future::pending());
            tries.spawn(async { Err(1) });
            tries.spawn(async { Ok(2) });
            assert_eq!(first(&mut tries).await, Some(Ok(2)), "none is waited for");
            let mut tries: JoinSet<Result<u64, u64>> = JoinSet::new();
            tries.spawn(async { Err(1) });
            tries.spawn(async { Err(2) });
            assert_eq!(first(&mut tries).await, Some(Err(2)));
        });
    }
}
