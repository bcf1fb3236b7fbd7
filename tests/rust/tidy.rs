//! The house rules that no compiler knows: who may import whom, how long things may be, where dangerous words may stand.
//!
//! The floor plan is read from ARCHITECTURE.md, so that the plan and the check cannot differ.

mod dependencies;
mod imports;
mod shape;
mod source;

/// Fails with every violation at once: a list is mended in one go.
fn assert_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}\n", violations.join("\n  "));
}
