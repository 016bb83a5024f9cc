//! Tests of retention: the policy against another model of it, groups, and guards.
