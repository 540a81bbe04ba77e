// SPDX-License-Identifier: Apache-2.0

//! The page on which a person approves a device: plain HTML, without a script.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem}\
label{display:block;margin:.8rem 0}input{font:inherit;width:100%;box-sizing:border-box;padding:.3rem}\
button{font:inherit;padding:.4rem 1.2rem;margin-right:.6rem}.error{color:#a00}";

/// The form; `waiting` is the client and what it asks for, if the code is already known.
pub(crate) fn form(
    user_code: &str,
    waiting: Option<(&str, &str)>,
    error: Option<&str>,
) -> Response {
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let error = error
        .map(|error| format!("<p class=\"error\" role=\"alert\">{}</p>", escape(error)))
        .unwrap_or_default();
    let what = waiting
        .map(|(client, scope)| {
            format!(
                "<p><strong>{}</strong> asks to act for you: <code>{}</code>. Approve only what you \
                 have begun yourself.</p>",
                escape(client),
                escape(scope)
            )
        })
        .unwrap_or_default();
    let body = format!(
        "<h1>Log in a device</h1>{error}{what}<form method=\"post\">\
         <label>Code <input name=\"user_code\" value=\"{}\" required autocomplete=\"off\"></label>\
         <label>Name <input name=\"user\" required autocomplete=\"username\"></label>\
         <label>Password <input name=\"password\" type=\"password\" required \
         autocomplete=\"current-password\"></label>\
         <button name=\"decision\" value=\"approve\">Approve</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></form>",
        escape(user_code)
    );
    page(status, &body)
}

/// What was decided.
pub(crate) fn done(approved: bool) -> Response {
    let text = match approved {
        true => "The device is logged in. You can close this page.",
        false => "The device is refused. You can close this page.",
    };
    page(StatusCode::OK, &format!("<h1>Done</h1><p>{text}</p>"))
}

fn page(status: StatusCode, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Development issuer</title><style>{STYLE}</style>{body}</html>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, html).into_response()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_send_is_no_html() {
        assert_eq!(escape("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
