//! `tests/adversarial/payloads.toml`: what each payload proves.

use serde::Deserialize;

/// One row: a payload, the barrier that it attacks, and what is to be seen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadRow {
    /// Name of the payload.
    pub name: String,
    /// The barrier that it attacks.
    pub barrier: String,
    /// What a box shows when the barrier holds: verdict, errno, evidence in the report.
    pub evidence: String,
    /// The run in which the attack succeeds.
    pub control: String,
    /// Requirements that it proves.
    pub requirements: Vec<String>,
    /// The tests that run it.
    pub tests: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    payload: Vec<PayloadRow>,
}

/// Every row.
///
/// # Panics
/// When the table does not parse.
#[must_use]
pub fn payload_table() -> Vec<PayloadRow> {
    let table: Table = toml::from_str(include_str!("../adversarial/payloads.toml")).expect("payloads.toml");
    table.payload
}
