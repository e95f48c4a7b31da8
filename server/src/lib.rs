//! The composition root: settings, the lifecycle of the program, the API and pages, the schedules, the command line.
//!
//! Everything that reads a clock, the environment or a signal stands here, so that the other crates need not.
//! [`serve::start`] builds the whole program in-process, for `inquest serve`, for the demo and for system tests.

pub mod anomalies;
pub mod answer;
pub mod brief;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod demo;
pub mod detect;
pub mod evaluate;
pub mod export;
pub mod incidents;
pub mod investigate;
pub mod knowledge;
pub mod known_service;
pub mod lifecycle;
pub mod logging;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod narrative;
pub mod noise;
pub mod notify;
pub mod output;
pub mod pages;
pub mod recording;
pub mod serve;
pub mod signature;
pub mod slack;
pub mod telling;
pub mod web;
pub mod why;
pub mod writer;
