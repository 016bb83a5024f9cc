//! Reports posted to a URL: as they are, as ntfy and Slack want them, or in a form of one's own.

use serde::Serialize;

use super::encode::header;
use super::http::Request;
use super::ping::secrets;
use super::report::{Outcome, Report};
use super::template::Template;
use super::text::{short, subject};
use super::value::Value;

/// How much of the text a chat gets.
const CHAT_BYTES_MAX: usize = 3500;
/// Parts of the names of headers whose values are secrets. All that come from files are.
const SECRET_NAMES: [&str; 6] = ["auth", "token", "key", "secret", "passw", "cookie"];

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// The report as JSON.
    Json,
    /// A text, with title, priority and tags in headers (ntfy).
    Ntfy,
    /// `{"text": ...}`, as Slack, Mattermost and Rocket.Chat take it.
    Slack,
    Template(Template),
}

/// A URL that reports are posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: Value,
    pub form: Form,
    /// Further headers; these count where the form has one of the same name.
    pub headers: Vec<(String, Value)>,
}

#[derive(Serialize)]
struct Slack {
    text: String,
}

impl Webhook {
    /// Without further headers.
    pub fn new(url: Value, form: Form) -> Webhook {
        Webhook { url, form, headers: Vec::new() }
    }

    /// The request for a run that ended.
    pub(super) fn request(&self, report: &Report, warnings: &mut Vec<String>) -> Result<Request, String> {
        let url = self.url.read(warnings)?;
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            headers.push((name.clone(), value.read(warnings)?));
        }
        let (own, body) = match &self.form {
            Form::Json => (json_type(), report.json(&[])),
            Form::Template(template) => (json_type(), template.fill(report).into_bytes()),
            Form::Slack => {
                let text = format!("*{}*\n{}", marked(&subject(report)), marked(&cut(short(report))));
                // A text can always be said in JSON.
                (json_type(), serde_json::to_vec(&Slack { text }).unwrap_or_default())
            }
            Form::Ntfy => (ntfy_headers(report), cut(short(report)).into_bytes()),
        };
        let is_given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let added: Vec<_> = own.into_iter().filter(|(name, _)| !is_given(name)).collect();
        headers.extend(added);
        Ok(Request { url, headers, body: Some(body) })
    }

    /// What must not be told to others.
    pub(super) fn secrets(&self) -> Vec<String> {
        let of_headers = self.headers.iter().filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let is_secret =
                matches!(value, Value::File(_)) || SECRET_NAMES.iter().any(|part| name.contains(part));
            // Behind `Bearer` and the like stands what is secret.
            let word = |value: String| value.split_whitespace().next_back().map(str::to_owned);
            if is_secret { word(value.read(&mut Vec::new()).ok()?) } else { None }
        });
        secrets(&self.url).into_iter().chain(of_headers).collect()
    }
}

fn json_type() -> Vec<(String, String)> {
    vec![("Content-Type".into(), "application/json".into())]
}

fn ntfy_headers(report: &Report) -> Vec<(String, String)> {
    let (priority, tags) = match report.outcome {
        Outcome::Success => ("low", "white_check_mark"),
        Outcome::Warning => ("default", "warning"),
        Outcome::Failure => ("high", "rotating_light"),
    };
    vec![
        ("Content-Type".into(), "text/plain; charset=utf-8".into()),
        ("Title".into(), header(&subject(report), " ")),
        ("Priority".into(), priority.into()),
        ("Tags".into(), tags.into()),
    ]
}

/// Text in which nothing is a command of Slack's, such as calling everybody.
fn marked(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(mut text: String) -> String {
    if text.len() > CHAT_BYTES_MAX {
        let mut end = CHAT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    fn request(webhook: &Webhook, report: &Report) -> Request {
        webhook.request(report, &mut Vec::new()).unwrap()
    }

    fn get<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
        let named = request.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn ntfy_gets_a_text_and_headers() {
        let mut webhook = Webhook::new("https://ntfy.sh/topic".into(), Form::Ntfy);
        let mut report = sample(6);
        report.warnings = vec!["Größe".into()];
        let made = request(&webhook, &report);
        assert_eq!(get(&made, "Title"), ["copal: backup of nightly on web1 failed"]);
        assert_eq!((get(&made, "Priority"), get(&made, "Tags")), (vec!["high"], vec!["rotating_light"]));
        let body = String::from_utf8(made.body.unwrap()).unwrap();
        assert!(body.starts_with("Exit code 6: a guard refused.\n") && body.contains("\nGröße\n"), "{body}");
        report.profile = "Größe\n".into();
        webhook.headers =
            vec![("priority".into(), "5".into()), ("Authorization".into(), "Bearer tk_1".into())];
        let made = request(&webhook, &report.cleaned(&[]));
        assert!(get(&made, "Title")[0].starts_with("=?UTF-8?B?"));
        assert_eq!((get(&made, "Priority"), get(&made, "Authorization")), (vec!["5"], vec!["Bearer tk_1"]));
        assert_eq!(webhook.secrets(), ["https://ntfy.sh/topic", "tk_1"]);
    }

    #[test]
    fn slack_gets_one_text_in_which_nothing_is_a_command() {
        let webhook = Webhook::new("https://hooks.slack.com/services/x".into(), Form::Slack);
        let mut report = sample(3);
        report.warnings = vec!["<!channel> & \"x\"".into()];
        let made = request(&webhook, &report);
        let json: serde_json::Value = serde_json::from_slice(made.body.as_deref().unwrap()).unwrap();
        let text = json["text"].as_str().unwrap();
        assert!(text.starts_with("*copal: backup of nightly on web1 is done, with warnings*\n"), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; \"x\""), "{text}");
        assert_eq!(json.as_object().unwrap().len(), 1);
        report.warnings = vec!["é".repeat(1000); 9];
        let long: serde_json::Value =
            serde_json::from_slice(&request(&webhook, &report).body.unwrap()).unwrap();
        assert!(long["text"].as_str().unwrap().len() < 4000);
    }

    #[test]
    fn others_get_the_report_or_what_a_template_makes_of_it() {
        let made = request(&Webhook::new("https://h/".into(), Form::Json), &sample(0));
        assert_eq!(made.body.as_deref(), Some(sample(0).json(&[]).as_slice()));
        assert_eq!(get(&made, "Content-Type"), ["application/json"]);
        let template = Template::parse("{\"m\": \"{{title}}\"}").unwrap();
        let made = request(&Webhook::new("https://h/".into(), Form::Template(template)), &sample(0));
        assert_eq!(made.body.unwrap(), b"{\"m\": \"copal: backup of nightly on web1 is done\"}");
    }
}
