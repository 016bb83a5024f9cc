//! A JSON body of one's own, with `{{field}}` where something of the report is put in.

use super::report::Report;
use super::text::{short, subject};
use crate::terminal::time;

/// The fields; what is unknown is `null` for a number, and nothing for a text.
const FIELDS: [(&str, fn(&Report) -> Field); 24] = [
    ("title", |report| Field::Text(subject(report))),
    ("text", |report| Field::Text(short(report))),
    ("run_id", |report| Field::Text(report.run_id.clone())),
    ("profile", |report| Field::Text(report.profile.clone())),
    ("host", |report| Field::Text(report.host.clone())),
    ("version", |report| Field::Text(report.version.clone())),
    ("repository", |report| Field::Text(report.repository.clone())),
    ("began", |report| Field::Text(time::iso(report.began))),
    ("ended", |report| Field::Text(time::iso(report.ended))),
    ("seconds", |report| Field::Number(Some(report.seconds() as u64))),
    ("exit_code", |report| Field::Number(Some(u64::from(report.code)))),
    ("outcome", |report| Field::Text(report.outcome.word().to_owned())),
    ("snapshot_id", |report| Field::Text(report.snapshot_id.clone().unwrap_or_default())),
    ("files", |report| Field::Number(report.files)),
    ("files_new", |report| Field::Number(report.files_new)),
    ("files_changed", |report| Field::Number(report.files_changed)),
    ("bytes", |report| Field::Number(report.bytes)),
    ("bytes_new", |report| Field::Number(report.bytes_new)),
    ("bytes_stored", |report| Field::Number(report.bytes_stored)),
    ("errors", |report| Field::Number(report.errors)),
    ("warnings", |report| Field::Text(report.warnings.join("\n"))),
    ("log", |report| Field::Text(report.log.join("\n"))),
    ("newest_snapshot", |report| Field::Text(report.newest_snapshot.map(time::iso).unwrap_or_default())),
    ("repository_bytes", |report| Field::Number(report.repository_bytes)),
];

enum Field {
    Text(String),
    Number(Option<u64>),
}

/// Text and the places of fields in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Its place in the list.
    Field(usize),
}

impl Template {
    /// Reads a template; an error says which field is not known, or that what comes of it is no JSON.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("{{") {
            let after = &rest[begin + 2..];
            let name = after.split("}}").next().unwrap_or_default();
            if name.len() == after.len() {
                return Err("the template has '{{' without '}}'".to_owned());
            }
            let field = FIELDS.iter().position(|(known, _)| *known == name.trim()).ok_or_else(|| {
                let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
                let name = crate::terminal::escape::escape(name.trim().as_bytes());
                format!(
                    "the template has a field '{name}' that does not exist; there are {}",
                    known.join(", ")
                )
            })?;
            parts.push(Part::Text(rest[..begin].to_owned()));
            parts.push(Part::Field(field));
            rest = &after[name.len() + 2..];
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Template(parts);
        let sample = Report::begin("", "", "", "", crate::model::Time::default());
        match serde_json::from_str::<serde::de::IgnoredAny>(&template.fill(&sample)) {
            Ok(_) => Ok(template),
            Err(error) => Err(format!(
                "the template makes no JSON ({error}); put fields that are texts between quotes, and numbers without"
            )),
        }
    }

    /// The text with the fields put in, as JSON has them: texts escaped, without quotes, which stand in the template.
    pub fn fill(&self, report: &Report) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(at) => out.push_str(&shown(FIELDS[*at].1(report))),
            }
        }
        out
    }
}

fn shown(field: Field) -> String {
    match field {
        Field::Number(number) => number.map_or("null".to_owned(), |number| number.to_string()),
        Field::Text(text) => {
            // A text can always be said in JSON.
            let quoted = serde_json::to_string(&text).unwrap_or_else(|_| "\"\"".to_owned());
            quoted[1..quoted.len() - 1].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn fields_are_put_in_as_json() {
        let template = Template::parse(
            r#"{"to": "{{ profile }}", "code": {{exit_code}}, "log": "{{log}}", "n": {{files}}}"#,
        )
        .unwrap();
        let mut report = sample(1);
        report.profile = "a\"b\\c".into();
        report.log = vec!["one \"x\"".into(), "{{profile}}".into()];
        report.files = None;
        let json: serde_json::Value = serde_json::from_str(&template.fill(&report)).unwrap();
        let expected = serde_json::json!({
            "to": "a\"b\\c", "code": 1, "log": "one \"x\"\n{{profile}}", "n": null
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn every_field_can_be_used_where_its_kind_belongs() {
        let bare = Report::begin("", "", "", "", crate::model::Time::default());
        for report in [sample(0), bare] {
            for (name, get) in FIELDS {
                let text = match get(&report) {
                    Field::Text(_) => format!("{{\"x\": \"{{{{{name}}}}}\"}}"),
                    Field::Number(_) => format!("{{\"x\": {{{{{name}}}}}}}"),
                };
                let filled = Template::parse(&text).unwrap().fill(&report);
                assert!(serde_json::from_str::<serde_json::Value>(&filled).is_ok(), "{name}: {filled}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said() {
        for (text, says) in [
            ("{\"a\": \"{{nonsense}}\"}", "'nonsense' that does not exist; there are title, text,"),
            ("{\"a\": \"{{profile\"}", "without '}}'"),
            ("{\"a\": {{profile}}}", "no JSON"),
            ("", "no JSON"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(Template::parse("{}").is_ok());
    }
}
