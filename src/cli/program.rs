//! What the command lines of all programs have in common. Does no I/O.

use clap::{Command, Parser};

use super::options::OTHERS;

/// One of the programs.
pub trait Program: Parser {
    /// The options that people need first, of the program or of any of its subcommands, in this order: the ids of
    /// clap's. Where there are none, all are shown at once.
    const FIRST: &[&str];

    /// Its command line, with those options at the top of its help.
    fn arguments() -> Command {
        arranged(Self::command(), Self::FIRST)
    }

    /// The same for a help text with no more than those.
    fn brief() -> Command {
        brief(Self::arguments(), Self::FIRST)
    }
}

fn arranged(command: Command, first: &[&str]) -> Command {
    let order = |id: &str| first.iter().position(|of| *of == id);
    let has_first = command.get_arguments().any(|arg| order(arg.get_id().as_str()).is_some());
    let command = command.mut_args(|arg| match order(arg.get_id().as_str()) {
        Some(place) => arg.help_heading(None).display_order(place),
        None if has_first && !arg.is_positional() && arg.get_help_heading().is_none() => {
            arg.help_heading(OTHERS)
        }
        None => arg,
    });
    command.mut_subcommands(|action| arranged(action, first))
}

fn brief(command: Command, first: &[&str]) -> Command {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let has_first = command.get_arguments().any(|arg| first.contains(&arg.get_id().as_str()));
    let command = match has_first {
        true => {
            let said = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = said.split_once("\n\n").map(|(examples, _)| format!("{examples}\n\n"));
            command
                .mut_args(|arg| if arg.get_help_heading().is_some() { arg.hide(true) } else { arg })
                .after_help(format!("{}All options: {name} --help", examples.unwrap_or_default()))
        }
        false => command,
    };
    command.mut_subcommands(|action| {
        let name = format!("{name} {}", action.get_name());
        brief(action.bin_name(name), first)
    })
}
