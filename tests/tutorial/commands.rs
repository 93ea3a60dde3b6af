//! The steps of a text: the commands of its `sh` blocks, and the expected output of its `text` blocks.

/// The comment after a command that runs until Ctrl-C.
const RUNS_ON: &str = "# runs until Ctrl-C";

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A command that ends.
    Run(String),
    /// A command that runs until Ctrl-C.
    Background(String),
    /// `cd`
    ChangeFolder(String),
    /// Lines that the commands since the last such block must have printed.
    Expect(Vec<String>),
}

/// The steps of a Markdown text, in order.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let block = match line.strip_prefix("```") {
            Some(language @ ("sh" | "text")) => language,
            _ => continue,
        };
        let within: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if block == "text" {
            steps.push(Step::Expect(within.into_iter().map(|line| line.trim().to_owned()).collect()));
        } else {
            steps.extend(within.into_iter().filter(|line| !line.trim().is_empty()).map(command));
        }
    }
    steps
}

fn command(line: &str) -> Step {
    if let Some(folder) = line.strip_prefix("cd ") {
        return Step::ChangeFolder(folder.trim().to_owned());
    }
    match line.strip_suffix(RUNS_ON) {
        Some(command) => Step::Background(command.trim().to_owned()),
        None => Step::Run(line.trim().to_owned()),
    }
}
