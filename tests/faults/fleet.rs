//! Several daemons that share the work: they say what one says, whoever of them comes, goes or is killed.

use std::collections::BTreeSet;

use crate::checker::{assert_once, assert_same};
use crate::clock::wait_for;
use crate::daemon::Daemon;
use crate::exactly_once::{assert_each_bad_once, bad_lines};
use crate::input::{Input, LIMIT, Said};
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::traffic::MINUTE;

const MEMBERS: usize = 3;
const LANES: usize = 5;

/// The seats that a member sits on.
fn seats(daemon: &Daemon) -> BTreeSet<String> {
    let exposition = daemon.exposition().unwrap_or_default();
    let series = exposition.lines().filter_map(|line| line.strip_prefix("regressd_services{seat=\""));
    series.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).filter(|seat| seat != "relay").collect()
}

/// Until every seat is somebody's, and each of the members has as many as it should.
fn wait_until_seated(members: &mut [Daemon]) {
    wait_for("everybody to have a seat", LIMIT, || {
        members.iter_mut().for_each(Daemon::assert_running);
        let seated: Vec<BTreeSet<String>> = members.iter().map(seats).collect();
        let all: BTreeSet<&String> = seated.iter().flatten().collect();
        let shared = seated.iter().all(|seats| seats.len() == (LANES + 1) / members.len());
        (shared && all.len() == LANES + 1 && members.iter().all(Daemon::is_ready)).then_some(())
    });
}

#[test]
fn three_members_say_what_one_says() {
    let (input, undisturbed) = Input::shared();
    let fleet = Scene::fleet(Kafka::shared(), "three", LANES, "");
    let scenes: Vec<Scene> = (0..MEMBERS).map(|n| fleet.member(&n.to_string(), "rekey = \"always\"")).collect();
    input.write(&fleet);
    let begun = std::time::Instant::now();
    let mut members: Vec<Daemon> = scenes.iter().map(|scene| Daemon::launch(scene)).collect();
    wait_until_seated(&mut members);
    println!("fleet: all sat after {:.1} s", begun.elapsed().as_secs_f64());
    wait_for_the_end(&mut members, &fleet);
    println!("fleet: all was said after {:.1} s", begun.elapsed().as_secs_f64());
    assert_same(&fleet, &input.said(&fleet), undisturbed);
    members.into_iter().for_each(Daemon::stop);
    assert_never_held_up(&scenes);
    assert_once(&fleet, "audit");
}

/// Of whom one is killed while they read.
#[test]
fn three_members_whose_groups_are_the_brokers_affair_decide_what_one_decides() {
    let (input, undisturbed) = Input::shared();
    let fleet = Scene::fleet(Kafka::shared(), "by-brokers", LANES, SLOWLY).by_the_brokers();
    let scenes: Vec<Scene> = (0..MEMBERS).map(|n| fleet.member(&n.to_string(), "")).collect();
    input.write(&fleet);
    let mut members: Vec<Daemon> = scenes.iter().map(|scene| Daemon::launch(scene)).collect();
    wait_until_seated(&mut members);
    members.remove(0).kill();
    members.push(Daemon::launch(&scenes[0]));
    wait_until_seated(&mut members);
    assert!(!is_answered(&fleet), "it was killed when there was nothing left to do");
    wait_for_the_end(&mut members, &fleet);
    assert_decided_the_same(&input.said(&fleet), undisturbed);
    members.into_iter().for_each(Daemon::stop);
    assert_never_held_up(&scenes);
    assert_once(&fleet, "recommendations");
    assert_once(&fleet, "audit");
}

/// Small sips, so that they can be disturbed in the middle.
const SLOWLY: &str = r#"
"queued.min.messages" = "20"
"fetch.message.max.bytes" = "65536"
"fetch.queue.backoff.ms" = "500"
"#;

#[test]
fn each_member_is_restarted_and_killed_in_turn_and_all_is_said_once() {
    let (input, undisturbed) = Input::shared();
    let fleet = Scene::fleet(Kafka::shared(), "turns", LANES, SLOWLY);
    let scenes: Vec<Scene> = (0..MEMBERS).map(|n| fleet.member(&n.to_string(), "")).collect();
    input.write(&fleet);
    fleet.write("logs", &bad_lines());
    let mut members: Vec<Daemon> = scenes.iter().map(|scene| Daemon::launch(scene)).collect();
    wait_until_seated(&mut members);
    let mut amid = 0;
    for killed in [false, true] {
        for scene in &scenes {
            end(members.remove(0), killed);
            members.push(Daemon::launch(scene));
            wait_until_seated(&mut members);
            amid += usize::from(!is_answered(&fleet));
        }
    }
    println!("turns: {amid} of {} ended and came back while there was something to do", 2 * MEMBERS);
    assert!(amid >= 3, "all was read after {amid}: the interruptions came too late to mean anything");
    wait_for_the_end(&mut members, &fleet);
    assert_decided_the_same(&input.said(&fleet), undisturbed);
    assert_never_above(3, &input.said(&fleet));
    members.into_iter().for_each(Daemon::stop);
    assert_never_held_up(&scenes);
    assert_once(&fleet, "recommendations");
    assert_once(&fleet, "audit");
    assert_each_bad_once(&fleet);
}

/// Three daemons on a machine that is busy already take their time: each minute of the log's takes some letters to and
/// fro.
fn wait_for_the_end(members: &mut [Daemon], fleet: &Scene) {
    wait_for("the last message to be answered", LIMIT * 4, || {
        members.iter_mut().for_each(Daemon::assert_running);
        is_answered(fleet).then_some(())
    });
}

fn end(member: Daemon, killed: bool) {
    match killed {
        true => member.kill(),
        false => member.stop(),
    }
}

/// Whether the last message of the input has been answered.
fn is_answered(fleet: &Scene) -> bool {
    fleet.read("audit").iter().any(|entry| entry.json()["data"]["deployment"] == "deploy-last")
}

/// A lane that went on elsewhere asks the others again, who know more by then: numbers may differ a little, and nothing
/// else.
fn assert_decided_the_same(said: &Said, undisturbed: &Said) {
    let decided = |said: &Said| -> Vec<String> {
        let each = |(id, messages): (&String, &Vec<String>)| {
            let message: serde_json::Value = serde_json::from_str(&messages[0]).expect("it was written by us");
            let of = |name: &str| message["data"][name].to_string();
            let fields = ["recommendation", "sequence", "lifecycle", "action", "verdict", "deployment"].map(of);
            format!("{id} {} {}", message["time"], fields.join(" "))
        };
        said.iter().map(each).collect()
    };
    assert_eq!(decided(said), decided(undisturbed));
}

/// Within any hour of the log's time, over the whole fleet, no more rollbacks are recommended than this.
fn assert_never_above(most: usize, said: &Said) {
    let messages = said
        .values()
        .flatten()
        .map(|message| -> serde_json::Value { serde_json::from_str(message).expect("it was written by us") });
    let asked =
        messages.filter(|message| message["data"]["lifecycle"] == "issued" && message["data"]["action"] != "none");
    let at = |message: serde_json::Value| {
        let time: jiff::Timestamp = message["time"].as_str().and_then(|time| time.parse().ok()).expect("a time");
        time.as_millisecond()
    };
    let mut times: Vec<i64> = asked.map(at).collect();
    times.sort_unstable();
    let within = |from: i64| times.iter().filter(|time| (from..from + 60 * MINUTE).contains(*time)).count();
    assert!(times.iter().all(|from| within(*from) <= most), "more than {most} within an hour: {times:?}");
    assert!(!times.is_empty(), "nothing was recommended: it proves nothing");
}

#[test]
fn a_member_with_a_name_that_is_back_in_time_finds_its_seats() {
    let (input, undisturbed) = Input::shared();
    let fleet = Scene::fleet(Kafka::shared(), "named", LANES, SLOWLY);
    let named = |n: usize| fleet.member(&n.to_string(), &format!("rekey = \"never\"\nmember = \"member-{n}\""));
    let scenes: Vec<Scene> = (0..MEMBERS).map(named).collect();
    input.write(&fleet);
    let mut members: Vec<Daemon> = scenes.iter().map(|scene| Daemon::launch(scene)).collect();
    wait_until_seated(&mut members);
    let before: Vec<BTreeSet<String>> = members.iter().map(seats).collect();
    let moves = || -> Vec<usize> { scenes[1..].iter().map(sat_down).collect() };
    let sat = moves();
    for killed in [false, true] {
        end(members.remove(0), killed);
        members.insert(0, Daemon::launch(&scenes[0]));
        wait_until_seated(&mut members);
        assert_eq!(members.iter().map(seats).collect::<Vec<_>>(), before);
    }
    assert_eq!(moves(), sat, "somebody else has moved");
    wait_for_the_end(&mut members, &fleet);
    assert_decided_the_same(&input.said(&fleet), undisturbed);
    members.into_iter().for_each(Daemon::stop);
    assert_once(&fleet, "audit");
}

/// No lane has gone on without an input that nobody passed on for a minute.
fn assert_never_held_up(scenes: &[Scene]) {
    for scene in scenes {
        let log = std::fs::read_to_string(scene.log()).expect("it wrote one");
        let line = log.lines().find(|line| line.contains("shows nothing and holds up the others"));
        assert_eq!(line, None, "in {}", scene.log().display());
    }
}

/// Passed on, or read by every lane: a lane's positions are those of the inputs in both, so it goes on where it stood.
#[test]
fn a_fleet_whose_rekeying_is_changed_goes_on_where_it_stood() {
    let (input, undisturbed) = Input::shared();
    let fleet = Scene::fleet(Kafka::shared(), "rekeyed", 2, SLOWLY);
    input.write(&fleet);
    fleet.write("logs", &bad_lines());
    let mut done = 0.0;
    for (n, rekey) in ["always", "never", "always", "never"].into_iter().enumerate() {
        let scene = fleet.member(&n.to_string(), &format!("rekey = \"{rekey}\""));
        let mut member = Daemon::launch(&scene);
        let taken = |member: &Daemon| {
            let lanes = ["lane-0", "lane-1"].map(|seat| member.metric("regressd_messages_total", &[("seat", seat)]));
            lanes.iter().sum::<f64>()
        };
        let last = n == 3;
        wait_for(&format!("it to go on, {rekey} passed on"), LIMIT, || {
            member.assert_running();
            let is_far_enough = taken(&member) >= 0.15 * input.len() as f64;
            (if last { is_answered(&fleet) } else { is_far_enough }).then_some(())
        });
        done += taken(&member);
        println!("rekeyed: {} messages with {rekey}", taken(&member));
        assert_eq!(is_answered(&fleet), last, "all was read by then");
        member.stop();
    }
    assert!(done >= input.len() as f64, "{done} of {}", input.len());
    // Another number of lanes is another fleet, whose topics these are not.
    let scene = fleet.member("more", "");
    let other = Daemon::launch_with(&scene, &[("REGRESSD__FLEET__LANES", "3")]);
    wait_for("it to be told", LIMIT, || {
        let log = std::fs::read_to_string(scene.log()).ok()?;
        (log.contains("fleet.lanes is 3") && log.contains("it has 3. Set it back")).then_some(())
    });
    assert!(!other.is_ready());
    other.stop();
    assert_decided_the_same(&input.said(&fleet), undisturbed);
    assert_once(&fleet, "recommendations");
    assert_once(&fleet, "audit");
    assert_each_bad_once(&fleet);
}

/// How often a member has sat down.
fn sat_down(scene: &Scene) -> usize {
    let log = std::fs::read_to_string(scene.log()).expect("it wrote one");
    log.lines().filter(|line| line.contains("sitting down")).count()
}
