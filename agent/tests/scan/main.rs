//! The scan as a whole: the real worker, real cgroups, real files. Needs root; makes slices of its own and removes
//! them.

mod ends;
mod limits;
mod place;
mod scope;
mod walk;
