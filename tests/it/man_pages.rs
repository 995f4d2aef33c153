//! The man pages and the programs say the same, in both directions: options, arguments, defaults, environment variables and
//! exit codes. Examples are command lines that parse, and mandoc finds no fault.

// In the helpers, as in the tests, a failed expectation is a failed test.
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chatto_pipes::chatto::config::{Overrides, resolve};
use chatto_pipes::cli::{self, Program as _};
use chatto_pipes::exit::Exit;
use clap::Arg;

use crate::support::programs::{program, run};

const SECTIONS: [&str; 11] = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "ENVIRONMENT",
    "FILES",
    "PERMISSIONS",
    "EXIT STATUS",
    "EXAMPLES",
    "SEE ALSO",
    "CAVEATS",
];

const CODES: [Exit; 8] = [
    Exit::Done,
    Exit::Failed,
    Exit::Usage,
    Exit::Partial,
    Exit::Damaged,
    Exit::Conflict,
    Exit::Locked,
    Exit::Unreachable,
];

/// Read by the TLS library.
const OF_LIBRARIES: [&str; 2] = ["SSL_CERT_DIR", "SSL_CERT_FILE"];

fn programs() -> [clap::Command; 4] {
    [cli::Dump::arguments(), cli::Load::arguments(), cli::Keys::arguments(), cli::Manifest::arguments()].map(
        |mut program| {
            program.build();
            program
        },
    )
}

/// What `program` does: its actions by name, or itself where it has none.
fn actions(program: &clap::Command) -> Vec<(Option<&str>, &clap::Command)> {
    let actions = program.get_subcommands().filter(|action| action.get_name() != "help");
    let actions: Vec<_> = actions.map(|action| (Some(action.get_name()), action)).collect();
    if actions.is_empty() { vec![(None, program)] } else { actions }
}

/// Whether it reads the configuration of a server, and with it environment and files.
fn is_configured(program: &clap::Command) -> bool {
    actions(program).iter().any(|(_, action)| options(action).any(|arg| arg.get_id() == "config"))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A man page in mdoc.
struct Page(String);

impl Page {
    fn of(program: &clap::Command) -> Page {
        Page(fs::read_to_string(path(&format!("man/{}.1", program.get_name()))).unwrap())
    }

    /// The synopsis of an action, or of a program that has none.
    fn synopsis(&self, action: Option<&str>) -> &str {
        let names = |synopsis: &&str| {
            let first = synopsis.split('\n').nth(1).unwrap();
            action.is_none_or(|action| matches!(first.rsplit_once("Cm "), Some((_, name)) if name == action))
        };
        let mut found = self.section("SYNOPSIS").split("\n.Nm").skip(1).filter(names);
        let (synopsis, more) = (found.next(), found.next());
        assert!(more.is_none(), "{action:?} has two synopses");
        synopsis.unwrap_or_else(|| panic!("{action:?} has no synopsis"))
    }

    fn sections(&self) -> Vec<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix(".Sh ")).collect()
    }

    fn section(&self, name: &str) -> &str {
        let start = self.0.find(&format!(".Sh {name}\n")).unwrap_or_else(|| panic!("no section {name}"));
        let rest = &self.0[start + 1..];
        &rest[..rest.find("\n.Sh ").unwrap_or(rest.len())]
    }

    /// The items of a section's lists: what follows `.It`, and the text below it.
    fn items(&self, section: &str) -> Vec<(&str, &str)> {
        self.section(section).split("\n.It ").skip(1).filter_map(|item| item.split_once('\n')).collect()
    }

    /// What the literal blocks of the examples hold.
    fn examples(&self) -> String {
        let blocks = self.section("EXAMPLES").split("\n.Bd ").skip(1);
        let blocks = blocks.filter_map(|block| block.split_once('\n')?.1.split("\n.Ed").next());
        blocks.collect::<Vec<_>>().join("\n").replace("\\e", "\\")
    }
}

/// The flags of a line of mdoc, each with the argument that follows it; arguments without a flag have
/// an empty one.
fn flags(line: &str) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut words = line.split(' ').peekable();
    while let Some(word) = words.next() {
        match (word, words.peek()) {
            (".Fl" | "Fl", Some(flag)) => found.push((format!("-{flag}"), None)),
            (".Ar" | "Ar", Some(value)) => match found.last_mut() {
                Some((_, slot)) => *slot = Some(value.to_string()),
                None => found.push((String::new(), Some(value.to_string()))),
            },
            _ => {}
        }
    }
    found
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    /// As it is typed: `-s, --server`.
    flags: Vec<String>,
    argument: Option<String>,
    default: Option<String>,
    /// The words that it takes, where it takes no others.
    words: BTreeSet<String>,
}

impl Choice {
    fn in_program(arg: &Arg) -> Choice {
        let short = arg.get_short().map(|short| format!("-{short}"));
        let long = arg.get_long().map(|long| format!("--{long}"));
        let takes_value = arg.get_action().takes_values();
        let words = arg.get_possible_values().into_iter().filter(|_| takes_value);
        Choice {
            flags: short.into_iter().chain(long).collect(),
            argument: arg.get_value_names().filter(|_| takes_value).map(|names| names[0].to_string()),
            default: arg
                .get_default_values()
                .first()
                .filter(|_| takes_value)
                .map(|value| value.to_string_lossy().into_owned()),
            words: words.map(|word| word.get_name().to_string()).collect(),
        }
    }

    /// The options of a page; an item without a flag is a word of the option before it.
    fn in_page(page: &Page) -> BTreeSet<Choice> {
        let mut choices: Vec<Choice> = Vec::new();
        for (head, text) in page.items("OPTIONS") {
            if let Some(word) = head.strip_prefix("Cm ") {
                choices.last_mut().unwrap().words.insert(word.into());
                continue;
            }
            let flags = flags(head);
            let text = text.replace('\n', " ");
            choices.push(Choice {
                argument: flags.iter().find_map(|(_, argument)| argument.clone()),
                flags: flags.into_iter().map(|(flag, _)| flag).collect(),
                default: text.split_once("The default is ").map(|(_, rest)| {
                    rest.split([' ', ';']).next().unwrap().trim_end_matches('.').to_string()
                }),
                words: BTreeSet::new(),
            });
        }
        choices.into_iter().collect()
    }
}

fn options(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional())
}

/// The options of a program and of all its actions.
fn all_options(program: &clap::Command) -> impl Iterator<Item = &Arg> {
    options(program).chain(actions(program).into_iter().flat_map(|(_, action)| options(action)))
}

/// The command lines of `text` that run one of our programs.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ").replace("|\n", "| ");
    let pieces = joined.lines().flat_map(|line| line.split(['|', ';', '&'])).map(str::trim);
    let is_ours = |piece: &&str| {
        let program = piece.split(' ').next().and_then(|word| word.strip_prefix("chatto-"));
        program.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    let pieces = pieces.map(|piece| piece.strip_prefix("$ ").unwrap_or(piece)).filter(is_ours);
    pieces
        .map(|piece| {
            let redirects = |word: &&str| {
                word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['>', '<', '#'])
            };
            let words = piece.split_whitespace().take_while(|word| !redirects(word));
            words.map(|word| word.trim_matches(['"', '\'']).to_string()).collect()
        })
        .collect()
}

fn assert_parses(words: &[String]) {
    let program = programs().into_iter().find(|program| program.get_name() == words[0]);
    let program = program.unwrap_or_else(|| panic!("{words:?}: no such program"));
    if let Err(e) = program.try_get_matches_from(words) {
        panic!("{words:?}: {e}");
    }
}

#[test]
fn every_option_is_described_as_it_is() {
    for program in programs() {
        let of_program: BTreeSet<Choice> = all_options(&program).map(Choice::in_program).collect();
        assert_eq!(Choice::in_page(&Page::of(&program)), of_program, "{}", program.get_name());
    }
}

#[test]
fn an_option_is_described_as_one_of_the_actions_that_have_it() {
    for program in programs() {
        let actions = actions(&program);
        let page = Page::of(&program);
        for (head, text) in page.items("OPTIONS").into_iter().filter(|(head, _)| head.starts_with("Fl ")) {
            let flag = flags(head).pop().unwrap().0;
            let has = |action: &clap::Command| {
                options(action).any(|arg| Choice::in_program(arg).flags.last() == Some(&flag))
            };
            let having: BTreeSet<_> =
                actions.iter().filter(|(_, action)| has(action)).filter_map(|(name, _)| *name).collect();
            let listed = text.lines().next().and_then(|line| line.strip_prefix(".Pq "));
            let described: BTreeSet<_> = match listed {
                Some("without an action") => BTreeSet::new(),
                Some(listed) => listed.trim_start_matches("Cm ").split(" , ").collect(),
                None => actions.iter().filter_map(|(name, _)| *name).collect(),
            };
            assert_eq!(described, having, "{}: {flag}", program.get_name());
        }
    }
}

#[test]
fn the_synopsis_has_every_option_and_argument() {
    for program in programs() {
        let page = Page::of(&program);
        for (name, action) in actions(&program) {
            let mut synopsis = BTreeSet::new();
            for (flag, argument) in page.synopsis(name).lines().flat_map(flags) {
                match flag.strip_prefix('-').filter(|letters| !letters.starts_with('-') && argument.is_none())
                {
                    Some(letters) => synopsis.extend(letters.chars().map(|c| (format!("-{c}"), None))),
                    None => drop(synopsis.insert((flag, argument))),
                }
            }
            let asks_for_help = |arg: &&Arg| matches!(arg.get_id().as_str(), "help" | "version");
            let expected = action.get_arguments().filter(|arg| !asks_for_help(arg)).map(|arg| {
                let Choice { flags, argument, .. } = Choice::in_program(arg);
                (flags.into_iter().next().unwrap_or_default(), argument)
            });
            assert_eq!(synopsis, expected.collect(), "{} {name:?}", program.get_name());
        }
    }
}

#[test]
fn no_page_speaks_of_an_option_that_is_not_there() {
    for program in programs() {
        let known: BTreeSet<String> =
            all_options(&program).flat_map(|arg| Choice::in_program(arg).flags).collect();
        let page = Page::of(&program);
        let before_examples = page.0.replace(page.section("SYNOPSIS"), "");
        for (flag, _) in before_examples.lines().flat_map(flags).filter(|(flag, _)| !flag.is_empty()) {
            assert!(known.contains(&flag), "{}: {flag}", program.get_name());
        }
    }
}

#[test]
fn every_environment_variable_is_described_and_no_other() {
    let asked = RefCell::new(BTreeSet::new());
    let context = Some("none".into());
    let nothing = Overrides { file: Some("/dev/null".into()), context, ..Overrides::default() };
    let nowhere = resolve(&nothing, |name| {
        asked.borrow_mut().insert(name.to_string());
        None
    });
    assert!(nowhere.is_err(), "nothing was configured");
    let mut configuration = asked.into_inner();
    assert!(configuration.len() > 10, "{configuration:?}");
    configuration.extend(OF_LIBRARIES.map(String::from));

    let others = environment_of_sources(&path("src"));
    assert!(others.contains("TMPDIR"), "{others:?}");
    for program in programs().into_iter().filter(is_configured) {
        let page = Page::of(&program);
        let is_variable = |word: &&str| {
            word.contains(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let lines = page.section("ENVIRONMENT").lines();
        let lines = lines.filter(|line| line.starts_with(".Ev ") || line.starts_with(".It Ev "));
        let described: BTreeSet<String> =
            lines.flat_map(|line| line.split(' ')).filter(is_variable).map(String::from).collect();
        let mut read = configuration.clone();
        read.extend(others.iter().cloned());
        assert_eq!(described, read, "{}", program.get_name());
    }
}

/// The variables that the sources below `dir` name where they read one.
fn environment_of_sources(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(environment_of_sources(&path));
        } else {
            let source = fs::read_to_string(&path).unwrap();
            for call in ["env::var_os(\"", "env::var(\""] {
                let names = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(String::from));
            }
        }
    }
    found
}

#[test]
fn every_exit_code_is_described_and_no_other() {
    // A new code does not compile here until it is in `CODES`.
    for code in CODES {
        match code {
            Exit::Done | Exit::Failed | Exit::Usage | Exit::Partial => {}
            Exit::Damaged | Exit::Conflict | Exit::Locked | Exit::Unreachable => {}
        }
    }
    let numbers = |codes: &[Exit]| codes.iter().map(|code| (*code as u8).to_string()).collect::<Vec<_>>();
    for program in programs() {
        let described: Vec<_> =
            Page::of(&program).items("EXIT STATUS").into_iter().map(|(code, _)| code.to_string()).collect();
        // What reads no archive finds no fault with one, and what talks to no server has no trouble with one.
        let never: &[Exit] = match program.get_name() {
            "chatto-dump" => &[Exit::Damaged, Exit::Conflict, Exit::Locked],
            "chatto-keys" => &[Exit::Conflict],
            "chatto-manifest" => &[Exit::Conflict, Exit::Unreachable],
            _ => &[],
        };
        let ends: Vec<Exit> = CODES.into_iter().filter(|code| !never.contains(code)).collect();
        assert_eq!(described, numbers(&ends), "{}", program.get_name());
    }
    let readme = fs::read_to_string(path("README.md")).unwrap();
    let list = readme.split_once("take any exit status but 0 for a failure: ").unwrap().1;
    let list = list.split_once(".\n").unwrap().0;
    let described: Vec<_> = list.split(',').map(|item| item.split_whitespace().next().unwrap()).collect();
    assert_eq!(described, numbers(&CODES), "README.md");
}

#[test]
fn every_example_parses() {
    for program in programs() {
        let examples = commands(&Page::of(&program).examples());
        assert!(examples.len() >= 4, "{}: {examples:?}", program.get_name());
        let help = commands(&program.get_after_help().unwrap().to_string());
        assert!(help.len() >= 2, "{}: {help:?}", program.get_name());
        examples.iter().chain(&help).for_each(|words| assert_parses(words));
    }
    let readme = fs::read_to_string(path("README.md")).unwrap();
    let code: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let examples = commands(&code.join("\n"));
    assert!(examples.len() >= 4, "README.md: {examples:?}");
    examples.iter().for_each(|words| assert_parses(words));
}

#[test]
fn help_has_all_options_and_its_short_form_those_that_people_need_first() {
    let programs = [
        (cli::Dump::arguments(), cli::Dump::brief(), cli::Dump::FIRST),
        (cli::Load::arguments(), cli::Load::brief(), cli::Load::FIRST),
        (cli::Keys::arguments(), cli::Keys::brief(), cli::Keys::FIRST),
        (cli::Manifest::arguments(), cli::Manifest::brief(), cli::Manifest::FIRST),
    ];
    for (mut all, brief, first) in programs {
        all.build();
        for (name, action) in std::iter::once((None, &all)).chain(actions(&all)) {
            let words = |flag| std::iter::once(all.get_name()).chain(name).chain([flag]);
            let asked = |program: &clap::Command, flag| {
                let program = program.clone().term_width(100);
                program.try_get_matches_from(words(flag)).unwrap_err().to_string()
            };
            let (long, short) = (asked(&all, "--help"), asked(&brief, "-h"));
            assert!(long.contains("Usage: "), "{long}");
            for option in options(action).filter_map(Arg::get_long) {
                assert!(long.contains(&format!("--{option}")), "{long}");
            }
            assert!(long.lines().count() <= 64, "{} lines:\n{long}", long.lines().count());

            let id = |id: &str| options(action).find(|arg| arg.get_id() == id).and_then(Arg::get_long);
            let wanted: Vec<&str> = first.iter().filter_map(|first| id(first)).collect();
            if wanted.is_empty() {
                assert_eq!(long, short);
                continue;
            }
            // In this order, at the top of both, and nothing else in the short one.
            let shown = |help: &str| -> Vec<String> {
                let lines = help.lines().skip_while(|line| *line != "Options:").skip(1);
                let options = lines.take_while(|line| !line.is_empty());
                options
                    .filter_map(|line| Some(line.split_once("--")?.1.split([' ', ',']).next()?.into()))
                    .collect()
            };
            for help in [&long, &short] {
                let shown = shown(help);
                assert_eq!(&shown[..wanted.len()], wanted, "{help}");
                assert!(
                    shown[wanted.len()..].iter().all(|more| more == "help" || more == "version"),
                    "{help}"
                );
            }
            let options = short.lines().filter(|line| line.trim_start().starts_with('-')).count();
            assert_eq!(options, shown(&short).len(), "{short}");
            assert!(short.lines().count() <= 24, "{} lines:\n{short}", short.lines().count());

            // So does the program itself.
            let said = |flag| {
                let words: Vec<&str> = words(flag).collect();
                let mut command = program(words[0]);
                String::from_utf8(
                    run({
                        command.args(&words[1..]);
                        command
                    })
                    .expect_code(0)
                    .stdout,
                )
                .unwrap()
            };
            let count = |help: &str| help.lines().filter(|line| line.trim_start().starts_with('-')).count();
            assert_eq!(count(&said("-h")), options, "{name:?}");
            assert!(count(&said("--help")) > options, "{name:?}");
        }
    }
}

#[test]
fn every_page_has_all_sections() {
    for program in programs() {
        let page = Page::of(&program);
        let of_servers = ["ENVIRONMENT", "FILES", "PERMISSIONS"];
        let needed = |section: &&str| is_configured(&program) || !of_servers.contains(section);
        let sections: Vec<_> = SECTIONS.into_iter().filter(needed).collect();
        assert_eq!(page.sections(), sections, "{}", program.get_name());
        let name = page.section("NAME");
        assert!(name.contains(&format!(".Nm {}\n", program.get_name())), "{name}");
    }
}

#[test]
fn mandoc_finds_no_fault_and_80_columns_suffice() {
    let mandoc = |arguments: &[&str], page: &Path| {
        let output = Command::new("mandoc").args(arguments).arg(page).output();
        output.unwrap_or_else(|e| {
            panic!("cannot run mandoc: {e}; install it with: scripts/install-tools mandoc")
        })
    };
    let pages = fs::read_dir(path("man")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> = pages.collect();
    assert!(pages.len() >= 3, "{pages:?}");
    for page in pages {
        let lint = mandoc(&["-T", "lint", "-W", "warning"], &page);
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
        // Bold and underlined characters are typed over others.
        let text = mandoc(&["-T", "ascii", "-O", "width=80"], &page).stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        for line in text.lines() {
            let columns = line.chars().count() - 2 * line.matches('\u{8}').count();
            assert!(columns <= 80, "{}: {line}", page.display());
        }
    }
}
