use std::{cell::Cell, collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use starlane_bundle::{
    Contents, Contract,
    authoring::{built_in, built_in_bind},
    schema::{Bounds, Validator},
};
use starlane_node::{Origin, Principal};

use super::*;
use crate::{
    MemoryStore, handler,
    ports::Time,
    resource::Registry,
    testing::{
        launch_world::{World, address, publisher},
        memory_resource::MemoryDriver,
        resource_suite::{self, Subject},
        virtual_time::VirtualTime,
    },
};

/// Checks immediately; the text `wait` of a body gives the duration of its check in milliseconds.
struct Local {
    validators: BTreeMap<String, Validator>,
    time: VirtualTime,
    checked: Rc<Cell<usize>>,
}

impl Schemas for Local {
    fn check(
        &self,
        part: BodyRole,
        name: &str,
        payload: Payload,
        _: &Principal,
    ) -> LocalBoxFuture<'static, Result<(), String>> {
        self.checked.set(self.checked.get() + 1);
        let Some(validator) = self.validators.get(&format!("{part:?} {name}")) else { return Box::pin(ready(Ok(()))) };
        let misfit = |what: String| format!("the {part:?} `{name}` does not fit its schema: {what}");
        let read = Validator::read(&payload.body);
        let wait = read.as_ref().ok().and_then(|body| body["wait"].as_u64());
        let checked = read
            .map_err(misfit)
            .and_then(|body| validator.check(&body, payload.body.len()).map_err(|what| misfit(what.to_string())));
        let time = self.time.clone();
        Box::pin(async move {
            if let Some(wait) = wait {
                time.sleep(wait).await;
            }
            checked
        })
    }
}

fn bound(contract: Contract, time: &VirtualTime) -> Bound {
    counted(contract, time, &Rc::default())
}

/// The same, and counts the checked bodies.
fn counted(contract: Contract, time: &VirtualTime, checked: &Rc<Cell<usize>>) -> Bound {
    let bounds = Bounds { steps: 100_000, steps_per_byte: 4, max_steps: 1_000_000, quoted: 120 };
    let text = contract.bind.contract(&contract.schemas);
    let tables: Value = serde_json::from_str(&text).unwrap();
    let mut validators = BTreeMap::new();
    for (table, part) in
        [("requests", BodyRole::Request), ("responses", BodyRole::Response), ("events", BodyRole::Event)]
    {
        for (name, schema) in tables[table].as_object().unwrap() {
            validators.insert(format!("{part:?} {name}"), Validator::new(schema, bounds).unwrap());
        }
    }
    Bound::new(contract.bind, Rc::new(Local { validators, time: time.clone(), checked: Rc::clone(checked) }))
}

const BIND: &str = "[bind]\nname = \"texts\"\n\
    [operations.put]\nrequest = { content-type = \"application/json\", schema = \"put.json\" }\nresponse = {}\n\
    [operations.all]\nrequest = { content-type = \"application/json\", schema = \"null.json\" }\n\
    response = { content-type = \"application/json\", schema = \"all.json\" }\n\
    [events.changes]\npayload = { content-type = \"application/json\", schema = \"all.json\" }\n";

fn texts(time: &VirtualTime) -> Bound {
    bound(text_contract(), time)
}

fn text_contract() -> Contract {
    let text = |path: &str| match path {
        "binds/texts.toml" => Some(BIND),
        "put.json" => Some(
            r#"{ "type": "object", "required": ["key", "text"], "properties": { "key": { "type": "string" },
                 "text": { "type": "string" }, "wait": { "type": "integer" } }, "additionalProperties": false }"#,
        ),
        "null.json" => Some(r#"{ "type": ["object", "null"], "properties": {}, "additionalProperties": false }"#),
        "all.json" => Some(r#"{ "type": "object", "additionalProperties": { "type": "string" } }"#),
        _ => None,
    };
    built_in("binds/texts.toml", text).unwrap()
}

fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(VirtualTime) -> F) {
    let time = VirtualTime::default();
    assert!(time.run(test(time.clone())).is_some(), "it hangs");
}

#[test]
fn resources_in_memory_pass_the_contract_suite() {
    run(|time| async move {
        let fresh = || async {
            Subject {
                driver: Rc::new(MemoryDriver::new(texts(&time))),
                settings: json!({}),
                files: Vec::new(),
                write: ("put", json!({ "key": "TEXT", "text": "TEXT" })),
                read: ("all", Value::Null),
            }
        };
        resource_suite::all(Rc::new(time.clone()), fresh).await;
    });
}

fn origin() -> Origin {
    Origin { address: address("acme:asker"), caller: Principal::named("ada") }
}

#[test]
fn files_of_a_bundle_are_checked_against_their_bind() {
    run(|time| async move {
        let host = resource_suite::bare_host(&(Rc::new(time.clone()) as Rc<dyn Time>));
        let bound = bound(built_in_bind("bundle").unwrap(), &time);
        let handler = crate::bundle_files::handler(&host, Rc::default());
        let at = address("acme:repo:app:1.0.0");
        let served = bound.serve(&host, &at, handler).unwrap();
        resource_suite::bind_holds(&host, &at, bound.bind()).await;
        // An empty body is `null`, and `list` accepts only these two.
        for payload in [Payload::nothing(), Payload::json("null"), Payload::json("{}")] {
            let listed = host.request(&origin(), &at, "list", payload, 0).await.unwrap();
            assert_eq!(listed.body, r#"{"files":[]}"#);
        }
        let missing = host.request(&origin(), &at, "read", Payload::nothing(), 0).await.unwrap_err();
        assert_eq!(missing.code, "malformed", "{missing}");
        drop(served);
    });
}

#[test]
fn an_answer_that_does_not_match_is_not_passed_on() {
    run(|time| async move {
        let host = resource_suite::bare_host(&(Rc::new(time.clone()) as Rc<dyn Time>));
        let (bound, at) = (texts(&time), address("acme:texts"));
        let answers = [
            (Payload::json(r#"{ "a": "b" }"#), None),
            (Payload::json(r#"{ "a": 1 }"#), Some("at /a: ")),
            (Payload::json("[]"), Some("at its root: ")),
            (Payload::nothing(), Some("at its root: ")),
            (Payload::new("text/html", "<p>"), Some("answers with application/json, and the resource gave text/html")),
        ];
        for (answer, told) in answers {
            let given = answer.clone();
            let served = bound.serve(&host, &at, handler(move |_| ready(Ok(given.clone())))).unwrap();
            let outcome = host.request(&origin(), &at, "all", Payload::nothing(), 0).await;
            match told {
                None => assert_eq!(outcome, Ok(answer)),
                Some(told) => {
                    let failure = outcome.unwrap_err();
                    assert!(failure.code == "schema-mismatch" && failure.message.contains(told), "{failure}");
                    assert_eq!(failure.address, Some(at.clone()));
                }
            }
            drop(served);
        }
    });
}

#[test]
fn an_event_that_does_not_match_is_not_emitted() {
    run(|time| async move {
        let host = resource_suite::bare_host(&(Rc::new(time.clone()) as Rc<dyn Time>));
        let (bound, at) = (texts(&time), address("acme:texts"));
        let served = bound.serve(&host, &at, handler(|_| ready(Ok(Payload::nothing())))).unwrap();
        assert_eq!(bound.emit(&served, "changes", Payload::json(r#"{ "a": "b" }"#)).await, Ok(()));
        for (event, payload) in [
            ("changes", Payload::json(r#"{ "a": 1 }"#)),
            ("changes", Payload::new("text/plain", "a")),
            ("others", Payload::json("{}")),
        ] {
            assert!(bound.emit(&served, event, payload.clone()).await.is_err(), "{event} {payload:?}");
        }
    });
}

/// A long check delays the messages of its sender only.
#[test]
fn messages_of_a_sender_keep_their_order_during_checks() {
    run(|time| async move {
        let host = resource_suite::bare_host(&(Rc::new(time.clone()) as Rc<dyn Time>));
        let at = address("acme:texts");
        let seen = Rc::<RefCell<Vec<String>>>::default();
        let noted = Rc::clone(&seen);
        let handler = handler(move |message: Message| {
            let body: Value = serde_json::from_slice(&message.payload.body).unwrap();
            noted.borrow_mut().push(body["key"].as_str().unwrap().to_owned());
            ready(Ok(Payload::nothing()))
        });
        let _served = texts(&time).serve(&host, &at, handler).unwrap();
        let put = |key: &str, from: &str, wait: Option<u64>| {
            let mut body = json!({ "key": key, "text": "" });
            if let Some(wait) = wait {
                body["wait"] = wait.into();
            }
            let from = Origin { address: address(from), caller: Principal::named("ada") };
            let (host, at) = (host.clone(), at.clone());
            async move { host.request(&from, &at, "put", Payload::json(body.to_string()), 0).await }
        };
        let own = "acme:asker";
        let asked = [
            put("first", own, Some(50)),
            put("second", own, None),
            put("third", own, Some(20)),
            put("fourth", own, None),
            put("other", "acme:other", None),
        ];
        let outcomes = join_all(asked).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(*seen.borrow(), ["other", "first", "second", "third", "fourth"]);
        // A sender that is cancelled during the check of its message does not block others.
        drop(host.request(&origin(), &at, "put", Payload::json(r#"{ "key": "gone", "text": "", "wait": 1000 }"#), 0));
        let slow = put("gone", own, Some(10_000));
        let next = put("next", own, None);
        let abandoned = async {
            let begun =
                futures_util::future::select(Box::pin(slow), time.sleep(Duration::from_millis(5).as_millis() as u64))
                    .await;
            drop(begun);
        };
        abandoned.await;
        assert!(next.await.is_ok());
        assert!(time.now_ms() < 9_000, "{}", time.now_ms());
        assert_eq!(seen.borrow().last().map(String::as_str), Some("next"));
    });
}

#[test]
fn body_of_a_refused_message_is_not_checked() {
    run(|time| async move {
        let host = resource_suite::bare_host(&(Rc::new(time.clone()) as Rc<dyn Time>));
        let (at, checked) = (address("acme:texts"), Rc::<Cell<usize>>::default());
        let small: Entry = Rc::new(|message| match message.payload.body.len() {
            0..=40 => Ok(()),
            _ => Err(Failure::new(413, "too-large", "too large")),
        });
        let ada: Entry = Rc::new(|message| match message.caller.name() {
            "ada" => Ok(()),
            _ => Err(Failure::no_grant("not ada")),
        });
        let bound = counted(text_contract(), &time, &checked).entered_by(small).entered_by(ada);
        let _served = bound.serve(&host, &at, handler(|_| ready(Ok(Payload::nothing())))).unwrap();
        let put = |caller: &str, body: String| {
            let from = Origin { address: address("acme:asker"), caller: Principal::named(caller) };
            let (host, at) = (host.clone(), at.clone());
            async move { host.request(&from, &at, "put", Payload::json(body), 0).await }
        };
        let fits = r#"{ "key": "a", "text": "b" }"#.to_owned();
        let refused = [put("ada", " ".repeat(41)).await, put("eve", fits.clone()).await].map(Result::unwrap_err);
        assert_eq!(refused.each_ref().map(|failure| failure.status), [413, 403]);
        assert_eq!(refused[0].address, Some(at.clone()));
        assert_eq!(checked.get(), 0);
        assert!(put("ada", fits).await.is_ok());
        assert_eq!(checked.get(), 2, "the request and its answer");
    });
}

#[test]
fn turns_of_many_senders_are_swept_once_on_average() {
    let mut turns = Turns::default();
    let message = |number: usize| {
        let from = address(&format!("acme:asker:{number}"));
        Message::new(from, Principal::named("ada"), address("acme:texts"), "put".into(), Payload::nothing())
    };
    let open: Vec<_> = (0..10_000).map(|number| turns.take(&message(number))).collect();
    assert!(turns.swept <= 20_000, "{} turns were looked at for 10000 messages", turns.swept);
    drop(open);
    for number in 0..40_000 {
        drop(turns.take(&message(number)));
    }
    assert!(turns.swept <= 100_000 && turns.last.len() <= 40_000, "{}, {}", turns.swept, turns.last.len());
    let (before, _turn) = turns.take(&message(39_999));
    assert!(before.is_none_or(|mut before| before.try_recv().is_err()), "an ended turn blocks no other");
}

/// A page with a driver serves the resources that are placed in browsers, from the launch of the app until its end.
#[test]
fn a_page_with_a_driver_serves_the_resources_that_are_placed_in_it() {
    run(|time| async move {
        let world = World::new(Rc::new(time.clone()), Rc::new(MemoryStore::new()));
        let resource = |placement: &str| json!({ "drafts": { "kind": "keyvalue", "placement": placement } });
        let publish = |version: u64, placement: &str| {
            let (bundle, resource) = (format!("acme:repo:app:{version}.0.0"), resource(placement));
            let signed = world.publish_as(&bundle, &[], &publisher(), |contents: &mut Contents| {
                let app = contents.app.as_mut().unwrap();
                app.resources = serde_json::from_value::<BTreeMap<_, _>>(resource).unwrap().into_iter().collect();
            });
            world.say("acme:app", version, &bundle, &signed);
        };
        let registry = Registry::new(vec![Rc::new(MemoryDriver::new(texts(&time)))]);
        let page = world.page_with(Some(Rc::new(registry)));
        let at = address("acme:app:drafts");
        let all = || async { page.0.request(&origin(), &at, "all", Payload::nothing(), 0).await };
        publish(1, "browser");
        page.launch("acme:app").await.unwrap();
        let put = Payload::json(r#"{ "key": "a", "text": "b" }"#);
        page.0.request(&origin(), &at, "put", put, 0).await.unwrap();
        publish(2, "both");
        page.launch("acme:app").await.unwrap();
        assert_eq!(all().await.unwrap().body, r#"{"a":"b"}"#, "it survives a new version");
        publish(3, "server");
        page.launch("acme:app").await.unwrap();
        assert!(all().await.is_err(), "the server serves it now");
        publish(4, "browser");
        page.launch("acme:app").await.unwrap();
        assert!(all().await.is_ok());
        page.0.uninstall(&address("acme:app"));
        assert!(all().await.is_err());
    });
}
