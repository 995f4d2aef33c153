//! What `make bench` does with its measurements: a goal is met if the printed figure meets it, a measurement that fails has a
//! row and does not end the run, and the page keeps the text that a person wrote.

#[path = "../../benches/pipes/programs.rs"]
#[allow(dead_code)]
mod programs;
#[path = "../../benches/pipes/spent.rs"]
#[allow(dead_code)]
mod spent;
#[path = "../../benches/pipes/table.rs"]
#[allow(dead_code, clippy::print_stderr)]
mod table;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use programs::ran;
use spent::Spent;
use table::Goal::{AtLeast, AtMost, Shown};
use table::Table;

fn filled() -> Table {
    let mut table = Table::new("2 cores".into());
    for (what, ratio, goal) in [
        ("just", 0.85, AtLeast(0.85)),
        ("nearly", 0.8499, AtLeast(0.85)),
        ("too much", 1.501, AtMost(1.5)),
        ("just as much", 1.1 + 1e-12, AtMost(1.1)),
        ("of nothing", f64::NAN, AtMost(1.1)),
        ("for comparison", 12.4, Shown),
    ] {
        table.ratio(what, "1.0 s".into(), "2.0 s".into(), ratio, goal);
    }
    let second = Duration::from_secs(1);
    table
        .spent("a run", Spent { wall: second, servers: second * 2, program: second * 3, others: second * 4 });
    table
}

#[test]
fn a_goal_is_met_when_the_figure_that_is_shown_meets_it() {
    let page = filled().replace("");
    for row in [
        "| just | 1.0 s | 2.0 s | 0.85 | at least 0.85 | yes |",
        "| nearly | 1.0 s | 2.0 s | 0.84 | at least 0.85 | no |",
        "| too much | 1.0 s | 2.0 s | 1.51 | at most 1.5 | no |",
        "| just as much | 1.0 s | 2.0 s | 1.10 | at most 1.1 | yes |",
        "| of nothing | 1.0 s | 2.0 s | NaN | at most 1.1 | no |",
        "| for comparison | 1.0 s | 2.0 s | 12 | – | – |",
        "| a run | 1.0 s | 2.0 s | 3.0 s | 4.0 s |",
    ] {
        assert!(page.contains(&format!("{row}\n")), "no {row} in:\n{page}");
    }
}

#[tokio::test]
async fn what_fails_has_a_row_and_ends_nothing() {
    let mut table = Table::new("2 cores".into());
    table.measure("first", async |_| bail!("no server | no\nfigure")).await;
    table.measure("second", async |_| panic!("it burns")).await;
    let why = "melts";
    table.measure("third", async |_| panic!("it {why}")).await;
    table
        .measure("fourth", async |table| {
            table.ratio("fourth", "1 s".into(), "1 s".into(), 1.0, Shown);
            Ok(())
        })
        .await;
    let page = table.replace("");
    assert!(page.contains("| first | not measured: no server / no figure | – | – | – | – |\n"), "{page}");
    assert!(page.contains("| second | not measured: it burns | – | – | – | – |\n"), "{page}");
    assert!(page.contains("| third | not measured: it melts | – | – | – | – |\n"), "{page}");
    assert!(page.contains("| fourth | 1 s | 1 s | 1.00 | – | – |\n"), "{page}");
    assert_eq!(table.failed(), ["first", "second", "third"]);
}

#[test]
fn the_page_keeps_what_a_person_wrote_and_rows_that_were_not_measured_again() {
    let old = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md")).unwrap();
    let page = filled().replace(&old);
    let words = |page: &str| -> Vec<_> {
        page.split("<!-- ")
            .map(|part| part.split_once("make bench -->").map_or(part, |_| "").to_owned())
            .collect()
    };
    assert_eq!(words(&page), words(&old));
    assert!(page.contains("| just |") && !page.contains("| written to disk"), "{page}");
    let mut again = Table::new("4 cores".into());
    again.ratio("nearly", "1.0 s".into(), "2.0 s".into(), 0.9, AtLeast(0.85));
    let row = "| nearly | 1.0 s | 2.0 s | 0.84 | at least 0.85 | no |";
    let expected = page.replace(row, "| nearly | 1.0 s | 2.0 s | 0.90 | at least 0.85 | yes |");
    assert_eq!(again.update(&page), expected);
}

/// A program says itself how long it had a CPU; that of its children counts, as getrusage(2) counts it.
#[test]
fn the_cpu_time_of_a_program_is_what_the_kernel_counts() -> Result<()> {
    const BURN: &str = "import time\nwhile time.process_time() < 0.1: pass";
    let python = ["python3 -c \"$0\"", "python3 -c \"$0\"; python3 -c \"$0\""];
    for (script, least) in python.into_iter().zip([0.1, 0.2]) {
        let mut shell = Command::new("bash");
        let run = ran(shell.args(["-c", script, BURN]).stdout(Stdio::null()))?;
        // The kernel counts in ticks.
        let (cpu, tick) = (run.cpu.as_secs_f64(), 0.02);
        ensure!(cpu >= least - tick && run.cpu <= run.wall + Duration::from_millis(20), "{run:?}");
    }
    ensure!(
        ran(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string().contains("why")
    );
    Ok(())
}
