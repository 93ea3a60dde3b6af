//! The contract of [`Sandbox`](crate::ports::Sandbox): the same tests for every engine.
//!
//! Each case takes a new or used sandbox, and the module of `tests/guests/rust/echo`. It panics if the contract is
//! broken. Two macros pass the names of the cases to a macro of the caller, which makes tests of them:
//!
//! ```text
//! macro_rules! tests { ($($case:ident)*) => { $(#[test] fn $case() { block_on(sandbox_suite::$case(sandbox(), echo())) })* } }
//! starlane_host::sandbox_cases!(tests);
//! starlane_host::sandbox_bound_cases!(tests);
//! ```
//!
//! The second list needs an engine that limits time and memory and checks modules. Without these limits a case never
//! ends, so put a timeout around each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bounds;
mod calls;
mod contracts;
pub(super) mod fixture;
mod hostile;
mod lines;
mod lives;
mod modules;
mod scribe;
mod streams;
pub(super) mod wat;

pub use self::{bounds::*, calls::*, contracts::*, hostile::*, lines::*, lives::*, modules::*, streams::*};

/// Passes the cases for every sandbox to a macro: `$tests! { name name … }`.
#[macro_export]
macro_rules! sandbox_cases {
    ($tests:ident) => {
        $tests! {
            a_message_comes_back_with_its_headers_and_a_megabyte
            empty_strings_and_lists_pass
            a_failure_is_an_outcome
            a_batch_runs_in_order
            a_batch_ends_before_a_message_too_many
            calls_interleave_up_to_the_concurrency
            a_one_way_message_is_received_and_not_answered
            a_reply_from_another_call_makes_room
            a_request_is_settled_with_either_outcome
            wakes_and_events_arrive
            what_a_guest_asks_of_the_mesh_comes_out_as_it_was_said
            logs_come_with_their_level

            a_request_that_does_not_fit_is_not_received
            a_response_that_does_not_fit_becomes_a_failure
            an_event_that_does_not_fit_is_dropped

            a_refused_start_gives_its_reason
            state_goes_from_one_instance_to_the_next
            a_trap_ends_the_instance_and_keeps_its_log
            instances_share_nothing
            an_instance_that_is_gone_says_so
            a_module_that_was_never_compiled_starts_nothing
            initialize_runs_once_before_start
            results_are_read_before_the_guest_frees_them

            modules_with_foreign_imports_are_refused
            modules_without_the_exports_are_refused
            modules_with_a_start_section_are_refused
            what_is_no_module_is_refused

            what_readers_of_json_might_take_differently_is_refused
            a_crashed_call_queues_nothing
            broken_arguments_end_the_instance
            broken_results_end_the_instance
            a_broken_allocator_ends_the_instance
            what_a_guest_has_no_memory_for_is_not_its_crash
            outcomes_and_wakes_wait_when_a_batch_queued_enough
            the_mesh_is_closed_before_start_and_in_the_allocator
            a_call_queues_so_many_messages_and_no_more
            a_call_queues_so_many_bytes_and_no_more
            a_log_is_cut_where_it_is_too_long
            endless_recursion_is_a_crash

            opened_streams_have_odd_numbers
            write_spends_credit
            ended_streams_take_nothing
            parts_and_ends_reach_the_guest
            cancelled_streams_are_silent
            guest_without_streams_is_not_called
            broken_streams_end_the_instance
            crashed_call_writes_nothing
            part_without_memory_ends_its_stream
            written_bytes_are_limited
            wake_at_takes_a_time

            bad_line_of_a_request_ends_its_stream
            lines_are_checked_as_bodies
            last_line_is_checked_at_the_end
            line_that_is_too_long_ends_its_stream
            bad_line_of_a_reply_ends_its_stream
            written_lines_wait_for_their_payload
            lines_of_one_call_are_checked_in_order
            every_division_gives_the_same_verdict
        }
    };
}

/// Passes the cases for an engine that limits compute time and memory and checks modules, as [`sandbox_cases!`].
#[macro_export]
macro_rules! sandbox_bound_cases {
    ($tests:ident) => {
        $tests! {
            longest_line_is_checked
            costly_lines_are_checked_in_time
            eight_megabytes_are_checked
            hostile_bodies_are_checked_in_time
            a_runaway_call_is_stopped_while_others_answer
            a_runaway_start_is_stopped_wherever_it_runs
            stop_ends_a_call_in_its_middle
            memory_ends_where_the_limit_says
            tables_end_where_the_limit_says
            modules_with_wrong_signatures_are_refused
            modules_with_features_that_guests_may_not_have_are_refused
            modules_that_are_too_large_are_refused
        }
    };
}
