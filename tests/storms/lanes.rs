//! Laws of a divided fleet: as many lanes as you like decide what one does, in one place and by post.

use super::*;

#[test]
fn as_many_lanes_as_you_like_say_the_same() {
    for climate in [&ROUGH, &ORDERLY] {
        each_seed(climate, |seed, storm| {
            let mut noise = Noise::of(&format!("lanes {seed}"));
            let mut whole = play(&storm, |_| false);
            whole.iter_mut().for_each(sort_names);
            for lanes in [2, 3, 7] {
                let mut divided = play_in(Engine::of_lanes(lanes), &storm, |_| noise.unit() < 0.001).1;
                divided.iter_mut().for_each(sort_names);
                assert_same(&whole, &divided);
            }
        });
    }
}

#[test]
fn lanes_that_speak_by_post_say_the_same_and_nothing_twice() {
    for climate in [&ROUGH, &ORDERLY] {
        each_seed(climate, |seed, storm| {
            let mut noise = Noise::of(&format!("post {seed}"));
            let storm = storm.spread();
            let whole = play(&storm, |_| false);
            let whole: Vec<_> = whole.iter().filter_map(recommendation).collect();
            for lanes in [1, 3] {
                let late = divided::play(&storm, lanes, false, &mut noise);
                let late: Vec<_> = late.iter().filter_map(recommendation).collect();
                for (one, other) in whole.iter().zip(&late) {
                    assert_eq!(one, other, "in {lanes} lanes");
                }
                assert_eq!(whole.len(), late.len());
                // A lane that is taken over asks the others again, who by then know more: numbers may differ a little.
                let twice = divided::play(&storm, lanes, true, &mut noise);
                let twice: Vec<_> = twice.iter().filter_map(recommendation).collect();
                let decided = |said: &&Recommendation| {
                    (said.at, said.thread.clone(), said.sequence, said.lifecycle, said.action, said.verdict)
                };
                let [whole, twice] = [&whole, &twice].map(|said| said.iter().map(decided).collect::<Vec<_>>());
                assert_eq!(whole, twice, "in {lanes} lanes");
            }
        });
    }
}

/// Who is silent is told in the order of appearance, lane by lane.
fn sort_names(effect: &mut Effect) {
    if let Effect::Heartbeat(beat) = effect {
        beat.silent_services.sort();
    }
}
