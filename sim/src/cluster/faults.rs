//! What goes wrong, and how it heals.

use super::{Phase, State, World};
use crate::agenda::{Happening, Node};
use crate::clock::{MILLI, SECOND};
use crate::network::End;
use crate::options::{Fault, Shape, log_uniform};
use crate::probe::probe;
use crate::process::Stage;
use plait_core::limits;
use plait_core::outcome::Exit;
use plait_core::worker::Event;

/// Machines of one kind that a world has at the most.
const MACHINES: usize = 8;
/// How soon a machine that lost power is back at the latest.
const DOWN_LONGEST: u64 = 15 * SECOND;

impl World {
    pub(super) fn plan_faults(&mut self) {
        if !self.plan.faults.is_empty() {
            self.plan_fault();
        }
        self.agenda.plan(self.plan.fault_until, Happening::Heal);
    }

    fn plan_fault(&mut self) {
        let wait = 1 + self.rng.below(2 * self.plan.fault_every);
        self.agenda.plan(self.now + wait, Happening::Fault);
    }

    pub(super) fn on_fault(&mut self) {
        if self.phase != Phase::Troubled {
            return;
        }
        let total: u64 = self.plan.faults.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.below(total);
        let chosen = self.plan.faults.iter().find(|(_, weight)| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit
        });
        let fault = chosen.expect("the weights add up").0;
        self.ledger.count_fault();
        self.strike(fault);
        self.plan_fault();
    }

    fn strike(&mut self, fault: Fault) {
        self.log.line(self.now, format_args!("fault"), format_args!("{fault:?}"));
        match fault {
            Fault::WorkerCrash => self.crash_worker(),
            Fault::WorkerPause => self.pause_worker(),
            Fault::WorkerDrain => self.drain_worker(),
            Fault::WorkerJoin if self.workers.len() < MACHINES => self.add_worker(),
            Fault::WorkerJoin => {}
            Fault::CoordinatorPause => {
                probe!("coordinator paused");
                let span = log_uniform(&mut self.rng, MILLI, 6 * SECOND);
                self.pause(Node::Coordinator, span);
            }
            Fault::ClientPause => {
                let node = Node::Client(self.rng.below(self.clients.len() as u64) as usize);
                let longest = self.longest_pause();
                let span = log_uniform(&mut self.rng, 10 * MILLI, longest);
                self.pause(node, span);
            }
            Fault::ClientCrash => self.crash_client(),
            Fault::Stall => {
                let span = log_uniform(&mut self.rng, 5 * MILLI, 5 * SECOND);
                self.cut(span, &End::BOTH);
            }
            Fault::OneWayCut => {
                probe!("one-way cut");
                let span = log_uniform(&mut self.rng, SECOND, 25 * SECOND);
                let end = if self.rng.chance(1, 2) { End::Coordinator } else { End::Peer };
                self.cut(span, &[end]);
            }
            Fault::Silence => {
                let span = log_uniform(&mut self.rng, SECOND, 75 * SECOND);
                self.cut(span, &End::BOTH);
            }
            Fault::Reset => self.reset_one(),
            Fault::ExecutorKill => self.kill_executor(),
            Fault::Injection => self.inject(),
        }
    }

    fn draw_worker(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.workers.len()).filter(|n| self.is_up(Node::Worker(*n))).collect();
        (!up.is_empty()).then(|| up[self.rng.below(up.len() as u64) as usize])
    }

    fn draw_peer(&mut self) -> Node {
        let (workers, clients) = (self.workers.len() as u64, self.clients.len() as u64);
        let n = self.rng.below(workers + clients);
        if n < workers { Node::Worker(n as usize) } else { Node::Client((n - workers) as usize) }
    }

    fn crash_worker(&mut self) {
        let Some(n) = self.draw_worker() else { return };
        probe!("worker crashed");
        let connection = self.workers[n].connection;
        if let Some(connection) = connection {
            if self.rng.chance(2, 3) {
                self.close(connection, End::Peer);
            } else {
                self.network.release(connection, End::Peer);
            }
        }
        self.end_worker(n);
        let life = self.workers[n].machine.life;
        let down = log_uniform(&mut self.rng, 10 * MILLI, DOWN_LONGEST);
        self.agenda.plan(self.now + down, Happening::Restart { node: Node::Worker(n), life });
    }

    fn pause_worker(&mut self) {
        let Some(n) = self.draw_worker() else { return };
        let span = log_uniform(&mut self.rng, MILLI, 30 * SECOND);
        if span > limits::FENCE_AFTER.as_nanos() as u64 + 2 * SECOND {
            probe!("worker paused past its fence");
        }
        if self.rng.chance(1, 2) {
            self.workers[n].frozen_until = self.now + span;
        }
        self.pause(Node::Worker(n), span);
    }

    fn drain_worker(&mut self) {
        if let Some(n) = self.draw_worker() {
            self.post(Node::Worker(n), super::Input::Brain(Event::DrainRequested));
        }
    }

    fn pause(&mut self, node: Node, span: u64) {
        let machine = self.machine(node);
        if machine.state != State::Up {
            return;
        }
        machine.state = State::Paused;
        machine.pauses += 1;
        let (life, pause) = (machine.life, machine.pauses);
        self.note(node, format_args!("is paused for {} ms", span / MILLI));
        self.agenda.plan(self.now + span, Happening::Resume { node, life, pause });
    }

    pub(super) fn on_resume(&mut self, node: Node, life: u32, pause: u64) {
        let machine = self.machine(node);
        if machine.life != life || machine.pauses != pause || machine.state != State::Paused {
            return;
        }
        machine.state = State::Up;
        if let Node::Worker(n) = node {
            self.workers[n].frozen_until = 0;
        }
        self.note(node, format_args!("goes on"));
        self.wake(node);
    }

    fn crash_client(&mut self) {
        let living: Vec<usize> = (0..self.clients.len()).filter(|n| !self.clients[*n].is_through()).collect();
        if living.is_empty() {
            return;
        }
        let n = living[self.rng.below(living.len() as u64) as usize];
        if self.clients[n].machine.state != State::Down && self.rng.chance(1, 4) {
            self.kill_client(n);
            if self.clients.len() < MACHINES {
                self.add_client();
            }
        }
    }

    fn cut(&mut self, span: u64, ends: &[End]) {
        let node = self.draw_peer();
        self.note(node, format_args!("path blocked from {ends:?} for {} ms", span / MILLI));
        for end in ends {
            self.block(node, *end, self.now + span);
        }
    }

    fn reset_one(&mut self) {
        let node = self.draw_peer();
        if let Some(connection) = self.network.of(node).last().copied() {
            self.note(node, format_args!("{connection:?} is reset"));
            self.reset(connection);
        }
    }

    fn kill_executor(&mut self) {
        let Some(n) = self.draw_worker() else { return };
        let up = |stage: Stage| stage != Stage::Dead;
        let living: Vec<_> = self.workers[n].executors.values().filter(|e| up(e.stage)).map(|e| e.id).collect();
        if !living.is_empty() {
            let id = living[self.rng.below(living.len() as u64) as usize];
            self.end_executor(n, id, Exit::Signal(9));
        }
    }

    pub(super) fn on_restart(&mut self, node: Node, life: u32) {
        if let Node::Worker(n) = node
            && self.workers[n].machine.life == life
            && self.workers[n].machine.state == State::Down
        {
            self.start_worker(n);
        }
    }

    /// Everything is mended: what is stopped goes on, what is down comes up, and whoever is needed is there.
    pub(super) fn on_heal(&mut self) {
        self.log.line(self.now, format_args!("fault"), format_args!("healed"));
        self.phase = Phase::Healed(self.now);
        self.plan.spawn_trouble = 0;
        for node in self.nodes() {
            let machine = self.machine(node);
            let (life, pause, state) = (machine.life, machine.pauses, machine.state);
            match state {
                State::Paused => self.on_resume(node, life, pause),
                State::Down => self.on_restart(node, life),
                State::Up => {}
            }
            for from in End::BOTH {
                while self.network.is_blocked(node, from) {
                    self.on_unblock(node, from);
                }
            }
        }
        if self.plan.shape == Shape::Cluster {
            self.add_universal_workers();
        }
        for client in &mut self.clients {
            client.program.hurry();
        }
        self.agenda.plan(self.now, Happening::Look);
    }

    fn nodes(&self) -> Vec<Node> {
        let workers = (0..self.workers.len()).map(Node::Worker);
        let clients = (0..self.clients.len()).map(Node::Client);
        std::iter::once(Node::Coordinator).chain(workers).chain(clients).collect()
    }
}
