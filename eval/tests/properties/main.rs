//! What must not change an answer: an unrelated healthy system beside, other names, another time, rows in another order. And
//! what must not break one: numbers at the ends of what a number can hold.

mod answer;
mod bystander;
mod observations;
mod rows;
