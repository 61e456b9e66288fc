//! What the program says about itself in forms that other programs read: schema, completions, manual.

use std::path::Path;

use clap_mangen::Man;
use rustbox_core::RunReport;
use serde_json::{Value, json};

use crate::args;
use crate::error::CliError;
use crate::output::print;

/// The JSON Schema of the report of a run.
///
/// It is made from the very types that are written, so it cannot fall behind them.
pub(crate) fn run_schema() -> Value {
    let mut schema = schemars::schema_for!(RunReport).to_value();
    schema["$id"] = json!("urn:rustbox:schema:run:v1");
    schema["title"] = json!("Report of `rustbox run`");
    schema["properties"]["schema"]["const"] = json!(rustbox_core::RUN_SCHEMA);
    schema
}

/// `rustbox schema`.
pub(crate) fn schema() -> Result<u8, CliError> {
    let text = serde_json::to_string_pretty(&run_schema()).map_err(CliError::Json)?;
    print(&(text + "\n"))?;
    Ok(0)
}

/// `rustbox completions SHELL`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "rustbox", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// `rustbox man [DIR]`.
pub(crate) fn man(directory: Option<&Path>) -> Result<u8, CliError> {
    match directory {
        Some(directory) => clap_mangen::generate_to(args::command(), directory).map_err(CliError::Man)?,
        None => {
            let mut page = Vec::new();
            Man::new(args::command()).render(&mut page).map_err(CliError::Man)?;
            print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(0)
}
