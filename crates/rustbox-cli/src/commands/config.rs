//! `rustbox config check` and `rustbox config show`.

use std::path::PathBuf;

use rustbox_core::SpecError;

use crate::args::{ConfigAction, GlobalArgs};
use crate::config::{Problem, Settings, effective};
use crate::error::{CliError, chain};
use crate::output::print;
use crate::render::escape_text;

pub(crate) fn config(global: &GlobalArgs, action: &ConfigAction) -> Result<u8, CliError> {
    match action {
        ConfigAction::Check { file } => check(global, file.clone()),
        ConfigAction::Show => show(global),
    }
}

/// Prints OK, or everything that is wrong with the file and with the settings as a whole.
fn check(global: &GlobalArgs, file: Option<PathBuf>) -> Result<u8, CliError> {
    let named = GlobalArgs { config: file.or_else(|| global.config.clone()), ..global.clone() };
    let settings = Settings::resolve(&named).map_err(CliError::Config)?;
    let text = match (effective(&settings), &settings.file) {
        (Ok(_), Some(file)) => format!("OK {}\n", escape_text(&file.display().to_string())),
        (Ok(_), None) => "OK (no configuration file: built-in defaults)\n".to_owned(),
        (Err(error), file) => {
            let key = off_key(&error);
            let line = key.and_then(|key| settings.line(key));
            let file = file.clone().unwrap_or_default();
            let problem = Problem { file, line, key: key.map(str::to_owned), reason: chain(&error) };
            return Err(CliError::Config(vec![problem]));
        }
    };
    print(&text)?;
    Ok(0)
}

fn off_key(error: &SpecError) -> Option<&'static str> {
    if let SpecError::ControlOff { key } = error { Some(key) } else { None }
}

/// Prints every setting as a line of a TOML file, with where it comes from as its comment.
fn show(global: &GlobalArgs) -> Result<u8, CliError> {
    let settings = Settings::resolve(global).map_err(CliError::Config)?;
    let rows = effective(&settings).map_err(|source| settings.refusal(source))?;
    let mut text = String::new();
    for row in rows {
        let line = match row.value {
            Some(value) => format!("{} = {value}  # {}", row.key, settings.origin(row.key)),
            None => format!("# {} is not set  # {}", row.key, settings.origin(row.key)),
        };
        text.push_str(&escape_text(&line));
        text.push('\n');
    }
    print(&text)?;
    Ok(0)
}
