//! Compares grants with a very simple model: both give the same verdicts.

use starlane_protocol::{Address, Grant, Topic, Verb};
use starlane_testkit::{figure, random::Random};

const CASES: u64 = 200_000;
const SEGMENTS: [&str; 3] = ["acme", "a", "b"];
const OPERATIONS: [&str; 3] = ["get", "put", "x"];
const VERBS: [Verb; 8] = [
    Verb::Request,
    Verb::Notify,
    Verb::Subscribe,
    Verb::Serve,
    Verb::Launch,
    Verb::Override,
    Verb::Deploy,
    Verb::Admin,
];
const HOST: &str = "~aaaaaaaaaaaaaaaaaaaaaaaaaa";

/// One to three segments: few words, so that grants and messages often meet.
fn segments(random: &mut Random, from: &[&str]) -> String {
    let count = 1 + random.below(3);
    let parts: Vec<&str> = (0..count).map(|_| random.pick(from)).collect();
    parts.join(":")
}

/// Expands a pattern into all matching addresses of up to three segments, and searches for the address among them.
fn model_covers(pattern: &str, address: &str) -> bool {
    let (any_host, pattern) = pattern.strip_prefix("~*::").map_or((false, pattern), |bare| (true, bare));
    let address = match address.split_once("::") {
        Some(_) if !any_host => return false,
        Some((_, bare)) => bare,
        None => address,
    };
    let mut meant = vec![String::new()];
    for part in pattern.split(':') {
        let all = |texts: &[String]| -> Vec<String> {
            texts.iter().flat_map(|text| SEGMENTS.iter().map(move |segment| format!("{text}:{segment}"))).collect()
        };
        match part {
            "*" => meant = all(&meant),
            "**" => {
                let mut deeper = meant.clone();
                for _ in 0..3 {
                    deeper = all(&deeper);
                    meant.extend(deeper.clone());
                }
            }
            part => meant.iter_mut().for_each(|text| *text = format!("{text}:{part}")),
        }
    }
    meant.iter().any(|text| text.strip_prefix(':') == Some(address))
}

#[test]
fn grants_and_a_plain_model_give_the_same_verdicts() {
    let mut dice = Random::new(7);
    let (mut differences, mut allowed) = (0, 0);
    for _ in 0..CASES {
        let verb = dice.pick(&VERBS);
        let host = dice.pick(&["", "~*::"]);
        let mut pattern = segments(&mut dice, &["acme", "a", "b", "*"]);
        pattern += dice.pick(&["", "", ":**"]);
        let pattern = format!("{host}{}", if dice.below(20) == 0 { "**" } else { &pattern });
        let event = if verb == Verb::Subscribe { dice.pick(&["#changes", "#*"]) } else { "" };
        let messages = matches!(verb, Verb::Request | Verb::Notify);
        let operations: Vec<&str> = (0..dice.below(3)).map(|_| dice.pick(&OPERATIONS)).filter(|_| messages).collect();
        let text = format!("{} {pattern}{event} {}", verb.word(), operations.join(" "));
        let grant = Grant::parse(&text, None).unwrap();

        let asked = dice.pick(&VERBS);
        let address = format!("{}{}", dice.pick(&["", &format!("{HOST}::")]), segments(&mut dice, &SEGMENTS));
        let covers = model_covers(&pattern, &address);
        let parsed = Address::parse(&address).unwrap();
        let (verdict, expected) = if asked == Verb::Subscribe {
            let topic = dice.pick(&["changes", "others"]);
            let event_fits = event == "#*" || event.strip_prefix('#') == Some(topic);
            let expected = covers && (verb == Verb::Admin || (verb == Verb::Subscribe && event_fits));
            (grant.allows_topic(&Topic::new(parsed, topic).unwrap()), expected)
        } else {
            let operation = dice.pick(&OPERATIONS);
            let verb_fits = match verb {
                Verb::Admin => true,
                Verb::Request => matches!(asked, Verb::Request | Verb::Notify),
                verb => verb == asked,
            };
            let expected = covers && verb_fits && (operations.is_empty() || operations.contains(&operation));
            (grant.allows(asked, &parsed, operation), expected)
        };
        allowed += u64::from(expected);
        if verdict != expected {
            differences += 1;
            eprintln!("`{text}`: {asked:?} {address}: {verdict}, and the model says {expected}");
        }
    }
    figure::figure("grants.cases", CASES as f64, "cases");
    figure::figure("grants.differences", f64::from(differences), "cases");
    assert_eq!(differences, 0);
    assert!(allowed > CASES / 50, "only {allowed} of {CASES} are allowed: the cases cover too little");
}
