//! Fills the `{{name}}` places of a template.

/// Puts each value where its name stands, in one pass: a value that itself contains `{{…}}` stays as it is.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let mut out = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            return Err("the template has a `{{` without `}}`".to_owned());
        };
        let Some((_, value)) = values.iter().find(|(known, _)| *known == name.trim()) else {
            return Err(format!("the template asks for `{}`, which a page does not have", name.trim()));
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
    fn each_value_is_put_in_once_and_never_read_again() {
        assert_eq!(fill("<{{a}}|{{ b }}|{{a}}>", &[("a", "{{b}}"), ("b", "2")]).unwrap(), "<{{b}}|2|{{b}}>");
        assert_eq!(fill("plain", &[]).unwrap(), "plain");
    }

    #[test]
    fn a_faulty_template_is_an_error_that_names_the_place() {
        assert!(fill("{{nobody}}", &[("a", "1")]).unwrap_err().contains("`nobody`"));
        assert!(fill("a {{ b", &[]).unwrap_err().contains("without"));
    }
}
