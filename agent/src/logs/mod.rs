//! Log files, followed.
