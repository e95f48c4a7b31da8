//! The project's recipes: `cargo xtask` lists them.
//!
//! Deliberately absent: dependencies, so that the first recipe starts seconds after a fresh clone, and anything that a plain
//! `cargo` command already does well.

#![expect(clippy::print_stdout, reason = "recipes talk to a terminal")]
#![expect(clippy::disallowed_methods, reason = "recipes time their steps by the wall clock")]

mod bench;
mod bpf;
mod browser;
mod deny;
mod fuzz;
mod node;
mod programs;
mod recordings;
mod step;
mod test;
mod tools;
mod vm;

use std::process::ExitCode;

use anyhow::{Result, bail};

struct Recipe {
    name: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const RECIPES: &[Recipe] = &[
    Recipe { name: "test", help: "everything a change must pass [--no-browser]", run: test::run },
    Recipe {
        name: "browser",
        help: "the browser tests alone, against a live demo incident [--pictures: renew those in docs/]",
        run: browser::run,
    },
    Recipe {
        name: "bench",
        help: "measure, release build: `bench ingest [--kill] [--seconds N]`, `bench investigate [--spans N] [--minutes N]`, \
               `bench calm [--minutes N]` (what is said where nothing is wrong), `bench pages`, `bench review`, \
               `bench serve`, `bench demo [--runs N]`, `bench nab`, `bench templates`, `bench agent [--real-time]`",
        run: bench::run,
    },
    Recipe {
        name: "bpf",
        help: "build the agent's kernel side anew [--check: fail when it and its sources differ]",
        run: bpf::run,
    },
    Recipe { name: "fuzz", help: "`fuzz NAME [--seconds N]`: run a fuzz target", run: fuzz::run },
    Recipe {
        name: "programs",
        help: "fetch servers, clients and engines that system tests run and Debian does not have [--debian: install what it has, too]",
        run: programs::run,
    },
    Recipe {
        name: "recordings",
        help: "record demo incidents anew into eval/recordings [FAULT...]",
        run: recordings::run,
    },
    Recipe {
        name: "vm",
        help: "run the agent under another kernel, in a virtual machine [--arch amd64|arm64] [--kernel PACKAGE]",
        run: vm::run,
    },
    Recipe { name: "deny", help: "licences, advisories and sources of every dependency", run: deny::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        for recipe in RECIPES {
            println!("{:<12} {}", recipe.name, recipe.help);
        }
        return Ok(());
    };
    let Some(recipe) = RECIPES.iter().find(|recipe| recipe.name == name) else {
        bail!("no recipe {name:?}; `cargo xtask` lists them");
    };
    (recipe.run)(rest)
}
