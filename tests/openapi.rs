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

/// What a reference leads to; everything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let name = value["$ref"].as_str();
    let place = name.map(|name| name.trim_start_matches('#'));
    place.map_or(value, |place| document.pointer(place).unwrap())
}

fn check(document: &Value, path: &str, method: &str, code: u16, answer: &Value) {
    let operation = &document["paths"][path][method];
    let response = resolved(document, &operation["responses"][code.to_string()]);
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
    let monitor = monitor(&redis, &files);
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
    let path = "/v1/agents/{id}/silence";
    check(&document, path, "post", code, &silenced);
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
        ("/v1/agents/{id}/ack", "/v1/agents/w1/ack", json!({})),
        (
            "/v1/agents/{id}/recover",
            "/v1/agents/w1/recover",
            json!({"dryRun": true}),
        ),
        (
            "/v1/agents/{id}/restart",
            "/v1/agents/w2/restart",
            json!({}),
        ),
        ("/v1/agents/{id}/forget", "/v1/agents/w2/forget", json!({})),
        ("/v1/agents/{id}/stop", "/v1/agents/w3/stop", json!({})),
        ("/v1/pause", "/v1/pause", json!({"for": "1h"})),
        ("/v1/resume", "/v1/resume", json!({})),
        ("/v1/silences", "/v1/silences", json!({"for": "soon"})),
    ] {
        let (code, answer) = post(asked, body);
        check(&document, path, "post", code, &answer);
    }
}

/// A monitor that has the token of these tests.
fn monitor(redis: &Redis, files: &tempfile::TempDir) -> Monitor {
    let token = files.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("--token-file").arg(&token);
    });
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    monitor
}

/// Every operation with a body: its method, its path and the schema of the body.
fn bodies(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                let schema = resolved(document, schema).clone();
                let path = path.replace("/silences/{id}", "/silences/none");
                let path = path.replace("{id}", "w1").replace("{name}", "disk");
                found.push((method.to_uppercase(), path, schema));
            }
        }
    }
    found
}

/// A body that the schema takes.
fn right(schema: &Value) -> Value {
    let wanted = schema["required"].as_array().into_iter().flatten();
    let field = |name: &Value| match name.as_str().unwrap() {
        "for" => ("for".to_owned(), json!("1h")),
        "matchers" => {
            let matcher = json!([{"name": "agent", "value": "w1"}]);
            ("matchers".to_owned(), matcher)
        }
        other => (other.to_owned(), json!("")),
    };
    Value::Object(wanted.map(field).collect())
}

#[test]
fn a_body_that_the_document_excludes_is_refused_with_what_is_wrong() {
    let document = document();
    let (redis, files) = (Redis::start(), place());
    let monitor = monitor(&redis, &files);
    for (method, path, schema) in bodies(&document) {
        let right = right(&schema);
        let with = |name: &str, value: Value| {
            let mut body = right.clone();
            body[name] = value;
            body
        };
        let mut wrong = vec![
            json!([]),
            json!(["ann"]),
            json!(null),
            json!("ann"),
            json!(1),
        ];
        wrong.push(with("By", json!("ann")));
        for (name, known) in schema["properties"].as_object().unwrap() {
            wrong.push(with(name, json!(7)));
            wrong.push(with(name, json!({"a": 1})));
            if !known["type"]
                .as_array()
                .is_some_and(|types| types.contains(&json!("null")))
            {
                wrong.push(with(name, json!(null)));
            }
            if known["enum"].is_array() || known["pattern"].is_string() {
                wrong.push(with(name, json!("no such word")));
            }
        }
        for body in wrong {
            let (code, answer) = send(&monitor.address, &method, &path, &body);
            let why = answer["error"].as_str().unwrap_or_default();
            assert!(
                code == 400 && !why.is_empty(),
                "{method} {path} {body}: {code} {answer}"
            );
        }
        let (code, answer) = send(&monitor.address, &method, &path, &right);
        assert_ne!(code, 400, "{method} {path} {right}: {answer}");
    }
}

#[test]
fn the_rungs_and_times_of_the_document_are_those_that_are_taken() {
    let document = document();
    let (redis, files) = (Redis::start(), place());
    let monitor = monitor(&redis, &files);
    let schemas = &document["components"]["schemas"];
    let code_of = |path: &str, body: Value| post(&monitor.address, path, &body).0;
    for rung in schemas["Recover"]["properties"]["rung"]["enum"]
        .as_array()
        .unwrap()
    {
        let code = code_of("/v1/agents/w1/recover", json!({"rung": rung}));
        assert_eq!(code, 404, "{rung}: there is no such agent, but such a rung");
    }
    let times = [
        "0", "1s", "90s", "999999s", "9999m", "1h", "100h", "720h", "30d", "", "1", "-1h", "31d",
        "721h", "soon", "0s", "500ms",
    ];
    for (schema, path, matchers) in [
        ("SilenceAgent", "/v1/agents/w1/silence", None),
        (
            "NewSilence",
            "/v1/silences",
            Some(json!([{"name": "agent", "value": "w1"}])),
        ),
    ] {
        let pattern = schemas[schema]["properties"]["for"]["pattern"]
            .as_str()
            .unwrap();
        let pattern = regex_lite::Regex::new(pattern).unwrap();
        for time in times {
            let mut body = json!({"for": time});
            if let Some(matchers) = &matchers {
                body["matchers"] = matchers.clone();
            }
            let code = code_of(path, body);
            assert_eq!(
                pattern.is_match(time),
                code != 400,
                "{path} {time:?}: {code}"
            );
        }
    }
}

#[test]
fn the_words_of_the_document_are_those_that_a_filter_takes() {
    let document = document();
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let parameters = document["paths"]["/health/agents"]["get"]["parameters"].as_array();
    for (name, shown, known) in [
        ("state", "Failed", "healthy, missing, failed, stopped"),
        ("activity", "waiting-for-you", "stalled"),
    ] {
        let answer = |words: &str| {
            let path = format!("/health/agents?{name}={words}");
            monitor.get(&path).unwrap()
        };
        let one = parameters.unwrap().iter().find(|one| one["name"] == name);
        let words = one.unwrap()["schema"]["items"]["enum"].as_array().unwrap();
        let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
        for word in words.iter().chain(&[shown, &words.join(",")[..]]) {
            assert_eq!(answer(word).0, 200, "{name} {word}");
        }
        for wrong in [
            "stuck",
            "",
            "%3Cscript%3E",
            &format!("{},stuck", words[0])[..],
        ] {
            let (code, answer) = answer(wrong);
            assert_eq!(code, 400, "{name} {wrong}");
            let why = answer["error"].as_str().unwrap();
            let field = format!("{name}: expected one of ");
            assert!(why.starts_with(&field) && why.contains(known), "{answer}");
        }
    }
}

#[test]
fn a_matcher_is_taken_or_refused_as_the_document_describes_it() {
    let (redis, files) = (Redis::start(), place());
    let monitor = monitor(&redis, &files);
    let matcher = |matcher: Value| {
        let body = json!({"for": "1h", "matchers": [matcher]});
        post(&monitor.address, "/v1/silences", &body)
    };
    for good in [
        json!({"name": "agent", "value": "w1"}),
        json!({"name": "host", "value": "("}),
        json!({"name": "host", "value": "node-(3|4)", "isRegex": true, "isEqual": false}),
        json!({"name": "reason", "value": "é".repeat(500)}),
    ] {
        let (code, answer) = matcher(good.clone());
        assert_eq!(code, 202, "{good}: {answer}");
    }
    for wrong in [
        json!({"name": "mood", "value": "x"}),
        json!({"name": "host"}),
        json!({"name": "host", "value": "(", "isRegex": true}),
        json!({"name": "host", "value": "a)|(b", "isRegex": true}),
        json!({"name": "host", "value": "(?=a)", "isRegex": true}),
        json!({"name": "host", "value": "a", "isRegexp": true}),
        json!({"name": "host", "value": "a", "isRegex": null}),
        json!({"name": "host", "value": "a".repeat(501)}),
        json!(["host", "a"]),
    ] {
        let (code, answer) = matcher(wrong.clone());
        let why = answer["error"].as_str().unwrap_or_default();
        assert!(code == 400 && !why.is_empty(), "{wrong}: {code} {answer}");
    }
}

fn post(address: &str, path: &str, body: &Value) -> (u16, Value) {
    send(address, "POST", path, body)
}

fn send(address: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer s3cret\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (code, serde_json::from_str(body).unwrap())
}
