//! Reads the examples of the manual and of the README as a shell does.

use std::fs;
use std::path::Path;

/// A literal block of a page.
pub struct Example {
    /// The page's file, below the project.
    pub page: String,
    /// The block as a reader sees it.
    pub text: String,
}

impl Example {
    /// What a reader would type: without prompts, and without the times of a crontab's lines.
    pub fn script(&self) -> String {
        let typed = |line| in_crontab(line).unwrap_or_else(|| line.strip_prefix("$ ").unwrap_or(line));
        let lines = self.text.lines().map(|line| typed(line).to_owned() + "\n");
        // cron exports what it sets.
        let begin = if self.is_crontab() { "set -a\n" } else { "" };
        std::iter::once(begin.to_owned()).chain(lines).collect()
    }

    /// Whether it is for cron to run.
    pub fn is_crontab(&self) -> bool {
        self.text.lines().any(|line| in_crontab(line).is_some())
    }
}

/// The command of a crontab's line.
fn in_crontab(line: &str) -> Option<&str> {
    let is_time = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*');
    let fields: Vec<&str> = line.splitn(6, ' ').collect();
    match fields[..] {
        [ref times @ .., command] if times.len() == 5 && times.iter().all(|field| is_time(field)) => {
            assert!(!command.contains('%'), "cron makes a line break of %: {line}");
            Some(command)
        }
        _ => None,
    }
}

/// The examples of all pages and of the README, in their order.
pub fn examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("man")).unwrap();
    let pages = pages.map(|page| format!("man/{}", page.unwrap().file_name().into_string().unwrap()));
    let mut pages: Vec<String> = pages.chain(["README.md".into()]).collect();
    pages.sort();
    let mut found = Vec::new();
    for page in pages {
        let source = fs::read_to_string(root.join(&page)).unwrap();
        let blocks = if page.ends_with(".md") { indented(&source) } else { displays(&source) };
        found.extend(blocks.into_iter().map(|text| Example { page: page.clone(), text }));
    }
    found
}

/// The blocks of Markdown that are indented by four spaces and are no part of a list.
fn indented(source: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut before = "";
    for line in source.lines() {
        if let Some(code) = line.strip_prefix("    ") {
            if before.is_empty() {
                blocks.push(String::new());
            }
            *blocks.last_mut().unwrap() += &format!("{code}\n");
        }
        before = line;
    }
    blocks
}

/// Sections whose displays show what is no command; tests/permissions.rs runs a server with the latter.
const NO_COMMANDS: [&str; 2] = ["DESCRIPTION", "PERMISSIONS"];

/// The literal displays of mdoc that hold commands.
fn displays(source: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    let mut section = "";
    for line in source.lines() {
        match (line, &mut block) {
            (".Ed", _) => blocks.extend(block.take()),
            (line, Some(text)) if !line.starts_with(".\\\"") => {
                *text += &format!("{}\n", line.replace("\\e", "\\").replace("\\&", ""));
            }
            (line, None) if line.starts_with(".Bd -literal") && !NO_COMMANDS.contains(&section) => {
                block = Some(String::new());
            }
            _ => section = line.strip_prefix(".Sh ").unwrap_or(section),
        }
    }
    blocks
}
