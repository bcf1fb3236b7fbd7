//! Scenarios as text, and connections that are cut at any time.

mod rig;
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
    what_was_asked_for_is_sent_in_order
    a_cut_session_goes_on_where_it_was
    a_session_is_given_up_after_a_while
    a_cut_link_in_memory_is_the_end
    a_coordinator_that_does_not_know_the_session_is_believed
    notices_are_passed_on_and_acknowledged
    submitting_waits_while_too_much_is_unsent
    closing_sends_the_rest_and_says_goodbye
    values_with_workers_are_fetched_on_demand
    a_client_with_a_key_gets_values_from_workers
    late_and_unknown_events_are_harmless
}
