//! The API's own document: it has the routes that there are, and answers are as it describes them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Monitor, Redis, Running, SOON, eventually, place, sidecar};

fn document() -> Value {
    serde_json::from_str(include_str!("../monitor/src/http/assets/openapi.json")).unwrap()
}

/// What does not fit: the schema is of a document, the value of an answer.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        let schema = document.pointer(pointer).unwrap();
        return faults(document, schema, value, at, found);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &Value| {
            let mut found = Vec::new();
            faults(document, choice, value, at, &mut found);
            found.is_empty()
        };
        if !choices.iter().any(fits) {
            found.push(format!("{at}: {value} is none of {choices:?}"));
        }
        return;
    }
    let is_it = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => true,
    };
    if !is_it {
        found.push(format!("{at}: {value} is not {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is none of {words:?}"));
    }
    for item in value.as_array().into_iter().flatten() {
        faults(document, &schema["items"], item, &format!("{at}[]"), found);
    }
    let Some(fields) = value
        .as_object()
        .filter(|_| schema["properties"].is_object())
    else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{at}: {name} is not there"));
        }
    }
    for (name, field) in fields {
        let known = &schema["properties"][name];
        if !known.is_null() {
            faults(document, known, field, &format!("{at}.{name}"), found);
        } else if schema["additionalProperties"] != true {
            found.push(format!("{at}.{name} is not in the document"));
        }
    }
}

fn check(document: &Value, path: &str, method: &str, code: u16, answer: &Value) {
    let operation = &document["paths"][path][method];
    let response = &operation["responses"][code.to_string()];
    assert!(
        response.is_object(),
        "{method} {path}: {code} is not in the document"
    );
    let schema = &response["content"]["application/json"]["schema"];
    let mut found = Vec::new();
    faults(document, schema, answer, path, &mut found);
    assert!(found.is_empty(), "{method} {path}: {found:#?}\n{answer:#}");
}

#[test]
fn the_document_has_the_routes_that_there_are() {
    let sources = [
        include_str!("../monitor/src/http/api.rs"),
        include_str!("../monitor/src/http/actions.rs"),
    ];
    let mut routes = BTreeSet::new();
    for source in sources {
        for route in source.split(".route(").skip(1) {
            routes.insert(route.split('"').nth(1).unwrap().to_owned());
        }
    }
    let document = document();
    let described = document["paths"].as_object().unwrap().keys().cloned();
    assert_eq!(described.collect::<BTreeSet<_>>(), routes);
}

#[test]
fn answers_are_as_the_document_describes_them() {
    let document = document();
    let (redis, files) = (Redis::start(), place());
    let token = files.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("--token-file").arg(&token);
    });
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    let mut agent = sidecar(&redis.url(), "w1", "1s");
    let _failing = Running::start(agent.args(["sh", "-c", "sleep 1; exit 7"]));
    let mut agent = sidecar(&redis.url(), "w2", "1s");
    let _working = Running::start(agent.args(["sleep", "300"]));
    monitor.wait_for("w1", "failed");
    monitor.wait_for("w2", "healthy");
    let incident = eventually("an incident is open", || {
        let (_, answer) = monitor.get("/v1/incidents?open=true")?;
        Some(answer["incidents"][0]["id"].as_str()?.to_owned())
    });
    let post = |path: &str, body: Value| post(&monitor.address, path, &body);
    let (code, silenced) = post("/v1/agents/w2/silence", json!({"for": "1h", "by": "ann"}));
    check(
        &document,
        "/v1/agents/{id}/{action}",
        "post",
        code,
        &silenced,
    );
    eventually("its story is written", || {
        let (_, answer) = monitor.get("/v1/agents/w1/timeline")?;
        (answer["timeline"].as_array()?.len() > 2).then_some(())
    });
    let incident = format!("/v1/incidents/{incident}");
    for (path, asked) in [
        ("/health/agents", "/health/agents"),
        ("/health/agents/{id}", "/health/agents/w1"),
        ("/health/agents/{id}", "/health/agents/w2"),
        ("/health/agents/{id}", "/health/agents/w3"),
        ("/health/agents", "/health/agents?limit=x"),
        ("/v1/agents/{id}/timeline", "/v1/agents/w1/timeline?limit=2"),
        ("/v1/incidents", "/v1/incidents?limit=1"),
        ("/v1/incidents/{id}", incident.as_str()),
        ("/v1/incidents/{id}", "/v1/incidents/none"),
        ("/v1/silences", "/v1/silences"),
        ("/v1/status", "/v1/status"),
        ("/v1/openapi.json", "/v1/openapi.json"),
        ("/-/healthy", "/-/healthy"),
        ("/readyz", "/readyz"),
    ] {
        let (code, answer) = monitor.get(asked).unwrap();
        check(&document, path, "get", code, &answer);
    }
    for (path, asked, body) in [
        ("/v1/agents/{id}/{action}", "/v1/agents/w1/ack", json!({})),
        (
            "/v1/agents/{id}/{action}",
            "/v1/agents/w1/recover",
            json!({"dryRun": true}),
        ),
        (
            "/v1/agents/{id}/{action}",
            "/v1/agents/w2/restart",
            json!({}),
        ),
        (
            "/v1/agents/{id}/{action}",
            "/v1/agents/w2/forget",
            json!({}),
        ),
        ("/v1/agents/{id}/{action}", "/v1/agents/w3/stop", json!({})),
        ("/v1/pause", "/v1/pause", json!({"for": "1h"})),
        ("/v1/resume", "/v1/resume", json!({})),
        ("/v1/silences", "/v1/silences", json!({"for": "soon"})),
    ] {
        let (code, answer) = post(asked, body);
        check(&document, path, "post", code, &answer);
    }
}

fn post(address: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer s3cret\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (code, serde_json::from_str(body).unwrap())
}
