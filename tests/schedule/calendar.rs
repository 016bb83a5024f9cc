//! What a `When` says is what systemd understands: the same next times, also where clocks are put forward and back.

use std::process::Command;

use copal::model::Time;
use copal::schedule::When;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::common::end;

/// The next times after `base`, as systemd counts them in that zone; none where it gives up.
fn of_systemd(when: &When, zone: &str, base: Timestamp, count: usize) -> Option<Vec<i64>> {
    let mut command = Command::new("systemd-analyze");
    let base = base.strftime("--base-time=%Y-%m-%d %H:%M:%S UTC").to_string();
    command.args(["calendar", &base, &format!("--iterations={count}"), &when.on_calendar()]);
    command.env("TZ", zone).env("LC_ALL", "C");
    let ended = end(command);
    if ended.err().contains("Infinite loop in calendar calculation") {
        return None;
    }
    let ended = ended.expect(0);
    let text = ended.out();
    let times = text.lines().filter_map(|line| {
        let (name, time) = line.split_once(": ")?;
        let is_time = name.trim() == "(in UTC)"
            || zone == "UTC" && (name.contains("Next elapse") || name.contains("Iter. #"));
        let words: Vec<&str> = time.trim().split(' ').collect();
        let [_, date, clock, "UTC"] = words[..] else { return None };
        is_time.then(|| format!("{date}T{clock}Z").parse::<Timestamp>().unwrap().as_second())
    });
    let times: Vec<i64> = times.collect();
    assert_eq!(times.len(), count, "{ended}");
    Some(times)
}

#[test]
fn the_next_times_are_those_of_systemd() {
    let whens = [
        "every 1m",
        "every 15m",
        "every 20m",
        "hourly",
        "every 2h",
        "every 8h",
        "daily 02:30",
        "daily 00:00",
        "daily 00:30",
        "daily 03:30",
        "weekdays 12:00",
        "weekly sun 02:15",
        "weekly mon 23:45",
        "monthly 1 04:00",
        "monthly 28 02:30",
    ];
    let bases = [
        "2026-11-28T09:00:00Z",
        "2028-02-28T23:59:59Z",
        // Around changes of clocks: Berlin, London and New York in spring and autumn, Santiago at midnight, Lord Howe by half an hour.
        "2026-03-28T12:00:00Z",
        "2026-03-29T00:45:00Z",
        "2026-10-24T23:50:00Z",
        "2026-10-25T00:20:00Z",
        "2026-10-25T01:10:00Z",
        "2026-03-08T06:50:00Z",
        "2026-11-01T05:40:00Z",
        "2026-11-01T06:10:00Z",
        "2026-09-06T03:50:00Z",
        "2026-04-05T02:50:00Z",
        "2026-04-04T14:45:00Z",
        "2026-10-03T15:10:00Z",
    ];
    let (mut wrong, mut given_up) = (Vec::new(), 0);
    for zone in [
        "UTC",
        "Europe/Berlin",
        "Europe/London",
        "America/New_York",
        "America/Santiago",
        "Australia/Lord_Howe",
    ] {
        let known = TimeZone::get(zone).unwrap();
        for (when, base) in whens.iter().flat_map(|when| bases.iter().map(move |base| (when, base))) {
            let when: When = when.parse().unwrap();
            let base: Timestamp = base.parse().unwrap();
            let next = when.next(Time::new(base.as_second(), 0), &known).unwrap().seconds;
            match of_systemd(&when, zone, base, 1) {
                Some(times) if times == [next] => {}
                Some(times) => {
                    let shown = |seconds| Timestamp::from_second(seconds).unwrap();
                    wrong.push(format!(
                        "{when} after {base} in {zone}: {} and not {}",
                        shown(next),
                        shown(times[0])
                    ));
                }
                None => given_up += 1,
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Systemd 252 finds no way over a midnight that is not there.
    assert!(given_up < 20, "systemd gave up {given_up} times");
}

#[test]
fn every_calendar_that_can_be_said_is_one_of_systemds() {
    let mut all: Vec<String> =
        [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30].iter().map(|step| format!("every {step}m")).collect();
    all.extend([1, 2, 3, 4, 6, 8, 12].iter().map(|step| format!("every {step}h")));
    all.extend(["sun", "mon", "tue", "wed", "thu", "fri", "sat"].map(|day| format!("weekly {day} 23:59")));
    all.extend(["daily 00:00", "weekdays 09:05", "monthly 1 00:00", "monthly 28 23:59"].map(str::to_owned));
    let base: Timestamp = "2026-11-28T09:07:00Z".parse().unwrap();
    for text in all {
        let when: When = text.parse().unwrap();
        let mut at = Time::new(base.as_second(), 0);
        let mut own = Vec::new();
        for _ in 0..30 {
            at = when.next(at, &TimeZone::UTC).unwrap();
            own.push(at.seconds);
        }
        assert_eq!(Some(own), of_systemd(&when, "UTC", base, 30), "{text}");
    }
}
