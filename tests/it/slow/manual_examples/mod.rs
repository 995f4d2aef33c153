//! Runs every example of every man page and of the README unchanged, with `bash -euo pipefail`, and checks that it does what
//! its page says: with real servers, over ssh to a real sshd, into a real S3 server, through gzip, pigz, zstd and age. Two
//! things differ from a reader's machine: the places of `/etc/chatto`, `/mnt`, `/srv`, `/var/lib/chatto` and two servers, and
//! `systemctl`, which has nothing to stop; see `world`.
//!
//! `settings` has an entry for each example. An example without an entry fails, and so does an entry without an example.

mod settings;
mod world;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use self::settings::{SETTINGS, Setting, Then};
use self::world::{Source, World};
use crate::support::pages::{Example, examples};

/// How many examples run at once.
const AT_ONCE: usize = 3;

/// These are run by another test, which also compares what they write.
const ELSEWHERE: (&str, &str) = ("man/chatto-manifest.1", "tests/it/manifest_man.rs");

fn here() -> Vec<Example> {
    examples().into_iter().filter(|example| example.page != ELSEWHERE.0).collect()
}

fn fits(setting: &Setting, example: &Example) -> bool {
    example.page == setting.page && example.text.contains(setting.holds)
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

#[test]
fn every_example_has_one_setting_and_every_setting_one_example() {
    let examples = here();
    assert!(examples.len() > 40, "only {} examples were found", examples.len());
    for example in &examples {
        let found = SETTINGS.iter().filter(|setting| fits(setting, example)).count();
        assert_eq!(found, 1, "settings of this example of {}:\n{}", example.page, example.text);
    }
    for setting in SETTINGS {
        let found = examples.iter().filter(|example| fits(setting, example)).count();
        assert_eq!(found, 1, "examples of {} that hold {:?}", setting.page, setting.holds);
    }
    let (page, test) = ELSEWHERE;
    assert!(read(test).contains(&format!("include_str!(\"../../{page}\")")), "{test} does not run {page}");
}

#[test]
fn what_takes_minutes_is_run_by_the_continuous_integration() {
    const PACKAGES: &str = "scripts/check-packages";
    let ci = read(".ci/run");
    assert!(
        ci.lines().any(|step| step.starts_with(&format!("{PACKAGES} install"))),
        ".ci/run installs nothing"
    );
    let steps = ci + &read(PACKAGES);
    for setting in SETTINGS.iter().filter(|setting| matches!(setting.then, Then::Ci)) {
        let example = here().into_iter().find(|example| fits(setting, example)).unwrap();
        for line in example.script().lines() {
            assert!(steps.lines().any(|step| step.trim().starts_with(line)), ".ci/run does not run: {line}");
        }
    }
}

#[test]
fn every_example_does_what_its_page_says() {
    let source = Source::start();
    let work: Vec<(Example, &Setting)> = here()
        .into_iter()
        .filter_map(|example| Some((SETTINGS.iter().find(|setting| fits(setting, &example))?, example)))
        .filter(|(setting, _)| !matches!(setting.then, Then::Ci))
        .map(|(setting, example)| (example, setting))
        .collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((example, setting)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = World::new(&source, setting, &example.text).run(example) {
                        let text = format!("{}:\n{}\n{why:#}\n", example.page, example.text);
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} fail\n\n{}", failures.len(), work.len(), failures.join("\n"));
}
