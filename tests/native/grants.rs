//! Compares grants with a very simple model: both give the same verdicts.

use starlane_protocol::{Address, Grant, Topic, Verb};
use starlane_testkit::figure;

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

/// A generator of cases with few words, so that grants often match messages (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn segments(&mut self, from: &[&str]) -> String {
        let count = 1 + self.below(3);
        let parts: Vec<&str> = (0..count).map(|_| self.pick(from)).collect();
        parts.join(":")
    }
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
    let mut dice = Dice(7);
    let (mut differences, mut allowed) = (0, 0);
    for _ in 0..CASES {
        let verb = dice.pick(&VERBS);
        let host = dice.pick(&["", "~*::"]);
        let mut pattern = dice.segments(&["acme", "a", "b", "*"]);
        pattern += dice.pick(&["", "", ":**"]);
        let pattern = format!("{host}{}", if dice.below(20) == 0 { "**" } else { &pattern });
        let event = if verb == Verb::Subscribe { dice.pick(&["#changes", "#*"]) } else { "" };
        let messages = matches!(verb, Verb::Request | Verb::Notify);
        let operations: Vec<&str> = (0..dice.below(3)).map(|_| dice.pick(&OPERATIONS)).filter(|_| messages).collect();
        let text = format!("{} {pattern}{event} {}", verb.word(), operations.join(" "));
        let grant = Grant::parse(&text, None).unwrap();

        let asked = dice.pick(&VERBS);
        let address = format!("{}{}", dice.pick(&["", &format!("{HOST}::")]), dice.segments(&SEGMENTS));
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
