//! Tests of retention: the policy against another model of it, calendars against another calendar, groups, and guards.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use proptest::prelude::*;

use super::calendar::{Calendar, Period, Span, civil, days_of};
use super::policy::{Count, Policy, Reason, Tags};
use super::*;
use crate::model::Snapshot;
use crate::repository::notes::Standing;

/// Zones as their rules are written: with and without daylight saving, by half an hour, at both ends of the day.
const ZONES: [&str; 7] = [
    "UTC0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "LHST-10:30LHDT-11,M10.1.0,M4.1.0",
    "NPT-5:45",
    "<-12>12",
    "<+14>-14",
];

/// Where calendars are odd: leap days, ends of years of 52 and 53 weeks, changes of clocks, before 1970.
const ODD: [i64; 12] = [
    1_709_164_800, // 2024-02-29
    951_782_400,   // 2000-02-29
    1_735_600_000, // 2024-12-30
    1_609_459_200, // 2021-01-01, in week 53
    1_711_846_800, // 2024-03-31T01:00
    1_729_990_800, // 2024-10-27T01:00
    1_710_054_000, // 2024-03-10T07:00
    1_704_067_199, // 2023-12-31T23:59:59
    1_698_710_400, // 2023-10-31
    -1,
    -2_208_988_800, // 1900-01-01
    4_107_542_400,  // 2100-03-01
];

fn zone(number: usize) -> TimeZone {
    TimeZone::posix(ZONES[number]).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn named(seconds: i64, zone_number: usize, tags: &[&str]) -> Named {
    let offset = zone(zone_number).to_offset(at(seconds)).seconds();
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Named {
        name: Id::default(),
        snapshot: Snapshot {
            time: Time::new(seconds, 0),
            utc_offset: i64::from(offset),
            sources: vec![b"/a".to_vec()],
            host: b"host".to_vec(),
            ..Snapshot::default()
        },
        confirmed: Some(Time::new(seconds, 0)),
        standing: Standing { tags, ..Standing::default() },
    }
}

/// What the clock on the wall showed.
fn wall(named: &Named, calendar: Option<usize>) -> DateTime {
    let zone = match calendar {
        None => Offset::from_seconds(named.snapshot.utc_offset as i32).unwrap().to_time_zone(),
        Some(number) => zone(number),
    };
    at(named.snapshot.time.seconds).to_zoned(zone).datetime()
}

/// A stretch of the calendar, as people write it.
fn stretch(period: Period, wall: DateTime, number: usize) -> String {
    let date = wall.date();
    match period {
        Period::Each => number.to_string(),
        Period::Hour => format!("{date} {}", wall.hour()),
        Period::Day => date.to_string(),
        Period::Week => format!("{} {}", date.iso_week_date().year(), date.iso_week_date().week()),
        Period::Month => format!("{} {}", date.year(), date.month()),
        Period::Year => date.year().to_string(),
    }
}

/// The time that far back, as restic's `AddDate` counts.
fn back(newest: &Named, calendar: Option<usize>, span: Span) -> i64 {
    let wall = wall(newest, calendar);
    let months = i64::from(wall.year()) * 12 + i64::from(wall.month()) - 1 - span.years * 12 - span.months;
    let first = jiff::civil::date(months.div_euclid(12) as i16, months.rem_euclid(12) as i8 + 1, 1);
    let days = i64::from(wall.day()) - 1 - span.days;
    let date = first.checked_add(jiff::Span::new().days(days)).unwrap();
    let zone = match calendar {
        None => Offset::from_seconds(newest.snapshot.utc_offset as i32).unwrap().to_time_zone(),
        Some(number) => zone(number),
    };
    date.to_datetime(wall.time()).to_zoned(zone).unwrap().timestamp().as_second() - span.hours * 3600
}

/// Of a list, newest first: the first of each run of equal stretches, and at the end perhaps the last of all once more.
fn runs(stretches: &[String], fills: impl Fn(usize) -> bool) -> Vec<(usize, bool)> {
    let mut heads: Vec<(usize, bool)> = (0..stretches.len())
        .filter(|at| *at == 0 || stretches[*at] != stretches[*at - 1])
        .map(|at| (at, false))
        .collect();
    let last = stretches.len().wrapping_sub(1);
    if !stretches.is_empty() && !heads.contains(&(last, false)) && fills(heads.len()) {
        heads.push((last, true));
    }
    heads
}

/// For each snapshot, newest first, the words of the rules that keep it: rule by rule, where the policy goes snapshot by snapshot.
fn model(all: &[Named], policy: &Policy, calendar: Option<usize>) -> Vec<Vec<String>> {
    let mut words = vec![Vec::new(); all.len()];
    let walls: Vec<DateTime> = all.iter().map(|named| wall(named, calendar)).collect();
    let stretches = |period: Period, count: usize| -> Vec<String> {
        (0..count).map(|at| stretch(period, walls[at], at)).collect()
    };
    let oldest = |is_oldest: bool| if is_oldest { "oldest " } else { "" };
    for (period, count) in &policy.counts {
        let most = match count {
            Count::Most(most) => *most as usize,
            Count::All => usize::MAX,
        };
        for (at, fills) in runs(&stretches(*period, all.len()), |heads| heads < most).into_iter().take(most) {
            words[at].push(format!("{}{} snapshot", oldest(fills), period.adjective()));
        }
    }
    for (period, span) in policy.within.iter().filter(|(_, span)| !span.is_zero()) {
        let since = back(&all[0], calendar, *span);
        let count = all.iter().filter(|named| named.snapshot.time.seconds > since).count();
        for (at, fills) in runs(&stretches(*period, count), |_| count == all.len()) {
            let name = match period {
                Period::Each => String::new(),
                period => format!("{}{} ", oldest(fills), period.adjective()),
            };
            words[at].push(format!("{name}within {span}"));
        }
    }
    for tags in &policy.tags {
        for (at, named) in all.iter().enumerate() {
            let own = &named.standing.tags;
            if tags.0 == [""] && own.is_empty()
                || tags.0 != [""] && tags.0.iter().all(|tag| own.contains(tag))
            {
                words[at].push(format!("has tags {tags}"));
            }
        }
    }
    words.iter_mut().for_each(|words| words.sort());
    words
}

fn counts() -> impl Strategy<Value = BTreeMap<Period, Count>> {
    let count = prop_oneof![
        4 => Just(None),
        4 => (0u64..6).prop_map(|number| Some(Count::Most(number))),
        1 => Just(Some(Count::All)),
    ];
    proptest::collection::vec(count, 6).prop_map(|counts| {
        Period::ALL.into_iter().zip(counts).filter_map(|(period, count)| Some((period, count?))).collect()
    })
}

fn spans() -> impl Strategy<Value = BTreeMap<Period, Span>> {
    let span = (0i64..3, 0i64..15, 0i64..40, 0i64..50).prop_map(|(years, months, days, hours)| Span {
        years,
        months,
        days,
        hours,
    });
    let span = prop_oneof![
        4 => Just(None),
        1 => span.prop_map(Some),
        1 => (0i64..3).prop_map(|days| Some(Span { days, ..Span::default() })),
        1 => (0i64..70).prop_map(|hours| Some(Span { hours, ..Span::default() })),
    ];
    proptest::collection::vec(span, 6).prop_map(|spans| {
        Period::ALL.into_iter().zip(spans).filter_map(|(period, span)| Some((period, span?))).collect()
    })
}

/// A series: around one odd time, steps of seconds to years, each in its place of the world.
fn series() -> impl Strategy<Value = Vec<Named>> {
    let step = prop_oneof![
        2 => Just(0i64),
        3 => proptest::sample::select(vec![3600i64, 7200, 86_400, 2 * 86_400, 30 * 86_400, 365 * 86_400]),
        3 => 0i64..1800,
        4 => 1800i64..7200,
        4 => 7200i64..200_000,
        2 => 200_000i64..5_000_000,
        1 => 5_000_000i64..80_000_000,
    ];
    let tags = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3);
    let one = (step, 0..ZONES.len(), tags);
    let start = prop_oneof![
        3 => proptest::sample::select(ODD.to_vec()),
        1 => -3_000_000_000i64..4_000_000_000,
    ];
    let all = proptest::collection::vec(one, 1..40);
    (start, 0i64..200_000, any::<bool>(), 0..ZONES.len(), all).prop_map(
        |(start, before, travels, home, all)| {
            let mut time = start - before;
            let each = all.into_iter().map(|(step, place, tags)| {
                time += step;
                named(time, if travels { place } else { home }, &tags)
            });
            each.collect()
        },
    )
}

fn tag_lists() -> impl Strategy<Value = Vec<Tags>> {
    let list = proptest::sample::select(vec!["a", "b", "a,b", "b, c", "x", ""]);
    proptest::collection::vec(list.prop_map(Tags::parse), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_keeps_what_the_model_keeps_for_the_same_reasons(
        series in series(), counts in counts(), within in spans(), tags in tag_lists(), zoned in proptest::option::of(0..ZONES.len()),
    ) {
        let policy = Policy { counts, within, tags };
        let calendar = zoned.map_or(Calendar::Own, |number| Calendar::Zone(zone(number)));
        let now = series.last().unwrap().snapshot.time;
        let plan = plan(&series, &policy, Grouping::default(), &calendar, now);
        prop_assert_eq!(plan.groups.len(), 1);
        let newest_first: Vec<Named> = series.iter().rev().cloned().collect();
        let expected = model(&newest_first, &policy, zoned);
        for (entry, expected) in plan.groups[0].entries.iter().rev().zip(&expected) {
            let mut words: Vec<String> = entry.reasons.iter().map(ToString::to_string).collect();
            words.sort();
            prop_assert_eq!(&words, expected, "{:?}", entry.named.snapshot.time);
            prop_assert_eq!(entry.is_kept(), !expected.is_empty());
        }
        // A policy that says something keeps something, unless it is by tags alone.
        if policy.counts.values().any(|count| *count != Count::Most(0)) || policy.within.values().any(|span| !span.is_zero()) {
            prop_assert!(!expected[0].is_empty());
        }
    }

    #[test]
    fn any_time_and_any_offset_has_a_place(seconds: i64, nanos in 0u32..1_000_000_000, utc_offset: i64, years in 0i64..1_000_001, months in 0i64..1_000_001) {
        let snapshot = Snapshot { time: Time::new(seconds, nanos), utc_offset, ..Snapshot::default() };
        for calendar in [Calendar::Own, Calendar::Zone(zone(1))] {
            let local = calendar.local(&snapshot);
            let _ = Period::ALL.map(|period| period.of(local, 0));
            calendar.before(&snapshot, Span { years, months, days: years, hours: months });
        }
    }

    #[test]
    fn days_are_those_of_the_other_calendar(days in -4_000_000i64..2_900_000) {
        let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
        let expected = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
        prop_assert_eq!(civil(days), expected);
        prop_assert_eq!(days_of(expected.0, expected.1) + expected.2 - 1, days);
    }
}

fn series_of(days: &[i64]) -> Vec<Named> {
    days.iter().map(|day| named(1_700_000_000 + day * 86_400, 0, &[])).collect()
}

fn keep(period: Period, count: u64) -> Policy {
    Policy { counts: [(period, Count::Most(count))].into(), ..Policy::default() }
}

fn kept(plan: &Plan) -> Vec<bool> {
    plan.entries().map(Entry::is_kept).collect()
}

#[test]
fn what_is_exactly_so_old_is_not_within() {
    let all = series_of(&[0, 1, 2]);
    let now = all[2].snapshot.time;
    for (text, expected) in [("2d", [false, true, true]), ("2d1h", [true; 3]), ("48h", [false, true, true])] {
        let policy =
            Policy { within: [(Period::Each, Span::parse(text).unwrap())].into(), ..Policy::default() };
        let plan = plan(&all, &policy, Grouping::default(), &Calendar::Own, now);
        assert_eq!(kept(&plan), expected, "{text}");
    }
}

#[test]
fn what_lies_ahead_is_kept_and_takes_no_others_place() {
    let mut all = series_of(&[0, 1, 2, 3, 400, 401]);
    let now = all[3].snapshot.time;
    for named in &mut all[4..] {
        named.confirmed = Some(now);
    }
    let plan = plan(&all, &keep(Period::Each, 2), Grouping::default(), &Calendar::Own, now);
    assert_eq!(kept(&plan), [false, false, true, true, true, true]);
    assert_eq!(plan.ahead().count(), 2);
    assert!(!plan.groups[0].is_emptied());
    // Nor does it make a group one of which something is kept.
    let typo = Policy { tags: vec![Tags::parse("typo")], ..Policy::default() };
    let plan = super::plan(&all, &typo, Grouping::default(), &Calendar::Own, now);
    assert!(plan.groups[0].is_emptied());
    assert!(!lies_ahead(&series_of(&[1])[0], series_of(&[0])[0].snapshot.time), "a zone off");
}

#[test]
fn a_clock_that_went_back_is_seen_by_what_was_stored_later() {
    let mut all = series_of(&[0, 1, 2]);
    let now = all[2].snapshot.time;
    assert!(stored_later(&all, now).is_none());
    assert!(stored_later(&all, now.plus_seconds(-60)).is_none(), "clocks are set by some seconds");
    assert_eq!(stored_later(&all, now.plus_seconds(-86_400)).unwrap().snapshot.time, now);
    // What a snapshot says of itself does not count: its own clock is one of many.
    all[0].snapshot.time = now.plus_seconds(1 << 40);
    assert!(stored_later(&all, now).is_none());
    assert!(stored_later(&[], now).is_none());
}

#[test]
fn protected_ones_are_kept_and_a_rule_still_has_to_keep_something() {
    let mut all = series_of(&[0, 1, 2]);
    all[0].standing.protected = true;
    let now = all[2].snapshot.time;
    let plan = plan(&all, &keep(Period::Each, 1), Grouping::default(), &Calendar::Own, now);
    assert_eq!(kept(&plan), [true, false, true]);
    assert_eq!(plan.groups[0].entries[0].reasons, [Reason::Protected]);
    let everything = plan_all(&all, Grouping::default());
    assert_eq!(kept(&everything), [true, false, false]);
    assert!(everything.groups[0].is_emptied());
}

#[test]
fn groups_are_what_snapshots_have_in_common() {
    let mut all = series_of(&[0, 1, 2, 3]);
    all[1].snapshot.host = b"other".to_vec();
    all[2].snapshot.sources = vec![b"/b".to_vec()];
    all[3].standing.tags = vec!["x".to_owned()];
    let count = |text: &str| plan_all(&all, Grouping::parse(text).unwrap()).groups.len();
    assert_eq!(["host,paths", "host", "paths", "tags", "", "host,paths,tags"].map(count), [3, 2, 2, 2, 1, 4]);
    assert!(Grouping::parse("colour").is_err());
}

#[test]
fn spans_counts_and_tags_are_read_as_people_write_them() {
    let span = Span::parse("2y5m7d3h").unwrap();
    assert_eq!((span.years, span.months, span.days, span.hours), (2, 5, 7, 3));
    assert_eq!(span.to_string(), "2y5m7d3h");
    assert_eq!(Span::parse("3h2d").unwrap().to_string(), "2d3h");
    assert!(Span::parse("0d").unwrap().is_zero());
    for wrong in ["", "5", "d", "5w", "5dd", "1d2d", "-1d", "1 d", "99999999999d", "1000001d", "5é"] {
        assert!(Span::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Count::parse("unlimited"), Ok(Count::All));
    assert_eq!(Count::parse("-1"), Ok(Count::All));
    assert_eq!(Count::parse("12"), Ok(Count::Most(12)));
    for wrong in ["", "-2", "x", "1.5", "99999999999999999999"] {
        assert!(Count::parse(wrong).is_err(), "{wrong}");
    }
    let tags = ["a".to_owned(), "b".to_owned()];
    let has = |text: &str| Tags::parse(text).are_in(&tags);
    assert!(has("a") && has("a, b") && !has("a,c") && !has(""));
    assert!(Tags::parse("").are_in(&[]) && !Tags::parse("a").are_in(&[]));
    assert!(Calendar::parse("UTC").is_ok() && Calendar::parse("Nowhere/At_All").is_err());
}
