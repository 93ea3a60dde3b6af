//! Fills the `{{name}}` places of a template.

/// Replaces each place by its value, in one pass: a value that contains `{{…}}` itself stays as it is.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let mut out = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            return Err("the template has a `{{` without `}}`".to_owned());
        };
        let Some((_, value)) = values.iter().find(|(known, _)| *known == name.trim()) else {
            return Err(format!("the template has a place for `{}`, which is unknown", name.trim()));
        };
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn inserted_values_are_not_expanded_again() {
        assert_eq!(fill("<{{a}}|{{ b }}|{{a}}>", &[("a", "{{b}}"), ("b", "2")]).unwrap(), "<{{b}}|2|{{b}}>");
        assert_eq!(fill("plain", &[]).unwrap(), "plain");
    }

    #[test]
    fn a_faulty_template_is_an_error_that_names_the_place() {
        assert!(fill("{{nobody}}", &[("a", "1")]).unwrap_err().contains("`nobody`"));
        assert!(fill("a {{ b", &[]).unwrap_err().contains("without"));
    }
}
