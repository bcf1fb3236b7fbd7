//! Scenarios as text, and worlds made of chance.

mod rig;
mod soup;
mod world;

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("../scenarios/", stringify!($name), ".txt"));
            rig::play(text, &expect_test::expect_file![concat!("../scenarios/", stringify!($name), ".txt")]);
        }
    )*};
}

scenarios! {
    executors_start_at_once_and_take_work_once_ready
    few_attempts_are_spread_before_any_is_queued_behind
    a_backlog_is_queued_ahead
    a_larger_priority_overtakes_what_has_not_begun
    functions_are_told_before_their_first_use
    a_forgotten_function_goes_with_its_last_attempt
    inputs_follow_their_attempt
    an_idle_executor_takes_from_the_longest_queue
    a_chunk_is_cut_for_an_idle_executor
    the_end_of_a_chunk_goes_back_for_others
    an_item_that_kills_is_run_alone
    recalled_attempts_are_returned_unless_begun
    cancelled_before_start_is_never_begun
    a_running_attempt_is_stopped_step_by_step
    a_death_costs_the_blamed_attempt_alone
    what_kills_before_it_begins_is_blamed_in_the_end
    failing_starts_pause_and_are_tried_one_at_a_time
    what_has_killed_has_nothing_behind_it
    wide_tasks_get_executors_of_their_own
    named_resources_are_shared
    what_follows_begins_without_a_word
    a_soiled_executor_is_replaced
    one_that_ends_itself_speaks_against_nobody
    started_travels_for_what_lives_long
    a_drained_worker_returns_waits_and_leaves
    a_drained_worker_keeps_what_others_may_fetch
    a_drain_ends_in_time
    a_lost_link_is_forgotten
    reports_wait_for_credit
    a_result_that_would_not_be_kept_is_not_sent
    inputs_that_are_with_other_workers_come_first
    inputs_from_elsewhere_wait_for_memory
    a_large_result_stays_with_its_worker
    what_memory_cannot_hold_goes_to_disk
    inputs_on_disk_come_back_first
    who_lacks_an_input_again_keeps_its_turn
    a_disk_that_is_full_is_left_alone
    without_a_disk_a_result_says_why
    what_finds_no_memory_comes_back_later
    an_object_is_shown_and_dropped
    late_and_unknown_events_are_harmless
}
