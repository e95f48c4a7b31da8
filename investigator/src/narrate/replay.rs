//! Answers given before, or written for a test, in the order in which they are asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Completion, Failure, Model, Prompt, Usage};

/// A model that repeats what it is told to, and remembers what it was asked.
#[derive(Debug, Default)]
pub struct Replay {
    name: String,
    answers: Mutex<VecDeque<Result<String, Failure>>>,
    asked: Mutex<Vec<Prompt>>,
}

impl Replay {
    /// A model that gives these answers.
    pub fn new(name: &str, answers: impl IntoIterator<Item = Result<String, Failure>>) -> Self {
        Self { name: name.to_owned(), answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Prompt> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Model for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    fn complete<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Result<Completion, Failure>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(prompt.clone());
        let next = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let answer = next.unwrap_or(Err(Failure::NotRecorded)).map(|text| {
            let usage = Usage { input: prompt.tokens(), output: text.len().div_ceil(3) as u64 };
            Completion { text, usage: Some(usage) }
        });
        std::future::ready(answer).boxed()
    }
}
