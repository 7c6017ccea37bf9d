//! The egress filter.

mod egress;
