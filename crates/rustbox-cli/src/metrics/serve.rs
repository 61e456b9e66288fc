//! `rustbox metrics --listen`: one thread that answers one request at a time.
//!
//! Each answer is made anew from the files, so that there is nothing to keep in step with other processes.

use std::net::{SocketAddr, TcpListener};

use caps::CapSet;
use tiny_http::{Header, Method, Request, Response, Server};

use super::exposition;
use crate::config::Settings;
use crate::error::{CliError, chain};
use crate::health::view;
use crate::output::say;
use crate::render::escape_text;

/// What Prometheus expects of the text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// One answer.
struct Answer {
    code: u16,
    content_type: &'static str,
    body: String,
}

/// Serves until the process is ended.
pub(super) fn serve(settings: &Settings, address: SocketAddr) -> Result<u8, CliError> {
    let failed = |reason: String| CliError::Listen { address, reason };
    let listener = TcpListener::bind(address).map_err(|error| failed(error.to_string()))?;
    let bound = listener.local_addr().map_err(|error| failed(error.to_string()))?;
    // Before the server has threads of its own: each would keep what it was born with.
    give_up_capabilities()?;
    let server = Server::from_listener(listener, None).map_err(|error| failed(error.to_string()))?;
    say([format!("rustbox: listening on {bound}")]);
    for request in server.incoming_requests() {
        let answer = answer(settings, &request);
        if let Err(error) = respond(request, answer) {
            // Who asked went away; the next one may not.
            tracing::debug!(%error, "an answer was not delivered");
        }
    }
    Ok(0)
}

/// The bounding set first, since taking from it needs a capability itself.
fn give_up_capabilities() -> Result<(), CliError> {
    let held = caps::read(None, CapSet::Effective).map_err(CliError::Capabilities)?;
    if held.contains(&caps::Capability::CAP_SETPCAP) {
        caps::clear(None, CapSet::Bounding).map_err(CliError::Capabilities)?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(CliError::Capabilities)?;
    }
    Ok(())
}

fn answer(settings: &Settings, request: &Request) -> Answer {
    let path = request.url().split('?').next().unwrap_or_default();
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Answer { code: 405, content_type: TEXT_TYPE, body: "only GET and HEAD\n".to_owned() };
    }
    match path {
        "/metrics" => made(exposition(settings).map(|text| (200, METRICS_TYPE, text.0))),
        "/healthz" => made(view(settings).map(|(admitted, body)| {
            let code = if admitted == Some(true) { 200 } else { 503 };
            (code, JSON_TYPE, body + "\n")
        })),
        _ => Answer { code: 404, content_type: TEXT_TYPE, body: "/metrics or /healthz\n".to_owned() },
    }
}

/// What could not be read is the server's fault, and the reason stays in its own log.
fn made(answer: Result<(u16, &'static str, String), CliError>) -> Answer {
    match answer {
        Ok((code, content_type, body)) => Answer { code, content_type, body },
        Err(error) => {
            say([format!("rustbox: {}", escape_text(&chain(&error)))]);
            Answer { code: 503, content_type: TEXT_TYPE, body: "the worker's state cannot be read\n".to_owned() }
        }
    }
}

fn respond(request: Request, answer: Answer) -> std::io::Result<()> {
    let mut response = Response::from_string(answer.body).with_status_code(answer.code);
    if let Ok(header) = Header::from_bytes("Content-Type", answer.content_type) {
        response.add_header(header);
    }
    request.respond(response)
}
