// SPDX-License-Identifier: GPL-2.0

//! Carrying out what the core wants done.

use super::export::ExportLocks;
use super::glimpse::GlimpseWait;
use super::lvb::Lvb;
use super::namespace::Namespace;
use super::table::Node;
use super::traits::LvbClass;
use crate::core::{Action, AstTarget, BlockingAst, CompletionAst, ExportId, LockView, ResId};
use kapi::prelude::*;

/// How a callback went.
#[derive(Clone, Copy, Debug)]
pub enum AstOutcome<'a> {
    /// The client has answered, with this status and (to a glimpse) this value block.
    Replied(i32, &'a [u8]),
    /// It could not be sent, or was not answered in time.
    Failed(Error),
}

#[derive(Clone)]
enum Kind {
    Blocking,
    Completion,
    Glimpse(Arc<GlimpseWait>),
    Notice,
}

/// Takes the outcome of a callback. Dropping it reports that it could not be sent.
pub struct AstDone {
    ns: Arc<Namespace>,
    kind: Kind,
    to: AstTarget,
    done: bool,
}

/// -ELDLM_NO_LOCK_DATA: the client has the lock but nothing to tell.
const NO_LOCK_DATA: i32 = -303;

impl AstDone {
    fn new(ns: &Arc<Namespace>, kind: Kind, to: AstTarget) -> Self {
        AstDone {
            ns: ns.clone(),
            kind,
            to,
            done: false,
        }
    }

    /// For a glimpse.
    pub(super) fn glimpse(ns: &Arc<Namespace>, wait: &Arc<GlimpseWait>, to: AstTarget) -> Self {
        Self::new(ns, Kind::Glimpse(wait.clone()), to)
    }

    /// For a glimpse with a descriptor: its answer changes no value block.
    pub(super) fn notice(ns: &Arc<Namespace>, to: AstTarget) -> Self {
        Self::new(ns, Kind::Notice, to)
    }

    /// There is nobody to send to any more.
    pub(super) fn gone(self) {
        self.complete(AstOutcome::Failed(ESHUTDOWN));
    }

    /// The server's handle of the lock.
    pub fn cookie(&self) -> u64 {
        self.to.cookie
    }

    /// Whether the lock is still there: a callback of one that is gone need not be sent again.
    pub fn is_wanted(&self) -> bool {
        self.ns.find(self.to.cookie).is_some()
    }

    /// Reports the outcome (spec/ldlm.md 10.1).
    pub fn complete(mut self, outcome: AstOutcome<'_>) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: AstOutcome<'_>) {
        if core::mem::replace(&mut self.done, true) {
            return;
        }
        if let Kind::Glimpse(wait) = &self.kind {
            self.glimpse_answer(wait, outcome);
            wait.answered();
            return;
        }
        match outcome {
            AstOutcome::Replied(0, _) => {}
            AstOutcome::Replied(NO_LOCK_DATA, _) if matches!(self.kind, Kind::Notice) => {}
            AstOutcome::Replied(status, _) if status == EINVAL.to_errno() => self.cancel(),
            AstOutcome::Replied(..) => self.failed("a callback was refused"),
            AstOutcome::Failed(e) if e == ENODEV || e == ESHUTDOWN => {}
            AstOutcome::Failed(_) => self.failed("a callback was not answered"),
        }
    }

    fn glimpse_answer(&self, wait: &GlimpseWait, outcome: AstOutcome<'_>) {
        match outcome {
            AstOutcome::Replied(0, lvb) => match Lvb::from_wire(lvb) {
                Ok(l) => wait.merge(&l),
                Err(_) => self.failed("a glimpse was answered with nonsense"),
            },
            AstOutcome::Replied(NO_LOCK_DATA, _) => {}
            AstOutcome::Replied(status, _) if status == EINVAL.to_errno() => self.cancel(),
            AstOutcome::Replied(..) => self.failed("a glimpse was refused"),
            AstOutcome::Failed(e) if e == ENODEV || e == ESHUTDOWN => {}
            AstOutcome::Failed(_) => self.failed("a glimpse was not answered"),
        }
    }

    /// The client does not know the lock: so be it.
    fn cancel(&self) {
        if let Some(r) = self.ns.tables.handle(self.to.cookie) {
            self.ns.cancel_ref(&r, self.to.cookie, self.to.export);
        }
    }

    /// The client does not answer. No harm if the lock has been cancelled meanwhile.
    fn failed(&self, reason: &'static str) {
        if self.ns.is_stopping() || !self.is_wanted() {
            return;
        }
        if let Some(exp) = self.ns.export(self.to.export) {
            if exp.options.no_timer || exp.is_closed() {
                return;
            }
            if !self.ns.evict(&exp, reason) {
                // Callbacks that have no timer get one that is over, to be found by the next look.
                exp.arm(self.to.client_handle, self.to.cookie, now_ms(), 0);
            }
        }
    }
}

impl Drop for AstDone {
    fn drop(&mut self) {
        self.finish(AstOutcome::Failed(EIO));
    }
}

/// Milliseconds of the monotonic clock.
pub(super) fn now_ms() -> u64 {
    Instant::now().as_nanos() / 1_000_000
}

/// Seconds of the monotonic clock; enough for a century.
pub(super) fn now_s() -> u32 {
    (now_ms() / 1000) as u32
}

/// What is left to do outside of the resource lock.
enum Todo {
    Blocking(Arc<ExportLocks>, BlockingAst),
    Completion(Arc<ExportLocks>, CompletionAst, LvbClass),
    LocalBlocked(u64),
    Nothing,
}

impl Namespace {
    /// Does all that the core of this resource wants done, and drops it if it is empty then.
    pub(super) fn run(self: &Arc<Self>, node: &Arc<Node>) {
        loop {
            let mut st = node.state.lock();
            let Some(action) = self.with(&mut st, |r, env| r.next_action(env)) else {
                let empty = st.core.is_empty() && !st.dead;
                drop(st);
                if empty {
                    self.tables.drop_if_empty(node);
                }
                return;
            };
            let todo = self.note(node, action, &st.core);
            drop(st);
            match todo {
                Todo::Blocking(exp, ast) => {
                    let done = (!ast.one_way).then(|| AstDone::new(self, Kind::Blocking, ast.to));
                    exp.sender.send_blocking(&ast, done);
                }
                Todo::Completion(exp, ast, class) => self.complete(node, &exp, &ast, class),
                Todo::LocalBlocked(cookie) => self.ops.local_blocked(&node.name, cookie),
                Todo::Nothing => {}
            }
        }
    }

    /// The part of an action that belongs under the resource lock.
    fn note(&self, node: &Node, action: Action, core: &crate::core::Resource) -> Todo {
        match action {
            Action::WakeLocal => {
                node.granted.notify_all();
                Todo::Nothing
            }
            Action::LocalBlocked(cookie) => Todo::LocalBlocked(cookie),
            Action::Freed(f) => {
                self.tables.remove_handle(f.cookie);
                if let Some(exp) = self.export(f.export) {
                    if let Some(e) = exp.remove(f.client_handle, f.cookie) {
                        if e.sent != 0 {
                            exp.sample(now_ms().saturating_sub(e.sent));
                        }
                    }
                }
                Todo::Nothing
            }
            Action::Blocking(ast) => match self.export(ast.to.export) {
                Some(exp) => {
                    if !ast.one_way {
                        self.start_timer(&exp, &ast.to);
                    }
                    Todo::Blocking(exp, ast)
                }
                None => Todo::Nothing,
            },
            Action::Completion(ast) => match self.export(ast.to.export) {
                Some(exp) => {
                    if ast.start_timer {
                        self.start_timer(&exp, &ast.to);
                    }
                    let class = self.class_of(core, &ast);
                    Todo::Completion(exp, ast, class)
                }
                None => Todo::Nothing,
            },
        }
    }

    fn class_of(&self, core: &crate::core::Resource, ast: &CompletionAst) -> LvbClass {
        let mut class = LvbClass::None;
        if ast.desc.granted.is_some() {
            if let Some(v) = lock_by_cookie(core, self, ast.to.cookie) {
                class = self.ops.lvb_class(&v);
            }
        }
        class
    }

    pub(super) fn start_timer(&self, exp: &ExportLocks, to: &AstTarget) {
        let timeout = self.bl_timeout(exp);
        exp.arm(to.client_handle, to.cookie, now_ms(), timeout);
    }

    fn complete(
        self: &Arc<Self>,
        node: &Arc<Node>,
        exp: &Arc<ExportLocks>,
        ast: &CompletionAst,
        class: LvbClass,
    ) {
        let mut bytes = [0; Lvb::LEN];
        let mut len = 0;
        if class == LvbClass::Ost {
            if let Ok(l) = self.init_lvb(node) {
                bytes = l.to_wire();
                len = exp.lvb_len();
            }
        }
        let done = (!ast.one_way).then(|| AstDone::new(self, Kind::Completion, ast.to));
        exp.sender
            .send_completion(ast, bytes.get(..len).unwrap_or(&[]), done);
    }

    /// The value block of a resource, read from disk at first use.
    pub(super) fn init_lvb(&self, node: &Node) -> Result<Lvb> {
        let known = node.lvb.lock().get();
        match known {
            Some(l) => Ok(l),
            None => self.read_lvb(node),
        }
    }

    /// Lets the value block grow to what is on disk, if it is in use.
    pub(super) fn refresh_lvb(&self, node: &Node) {
        if node.lvb.lock().get().is_some() {
            // Unreadable, it stays as it is.
            let _ = self.read_lvb(node);
        }
    }

    /// Reads the object, without a lock: whoever changes it holds locks of the object when it sets
    /// the value block. What was read before that is read again.
    fn read_lvb(&self, node: &Node) -> Result<Lvb> {
        loop {
            let epoch = node.lvb.lock().epoch();
            let read = self.ops.read_lvb(&node.name)?;
            if let Some(l) = node.lvb.lock().merge_disk(&read, epoch) {
                return Ok(l);
            }
        }
    }
}

fn lock_by_cookie(core: &crate::core::Resource, ns: &Namespace, cookie: u64) -> Option<LockView> {
    let r = ns.tables.handle(cookie)?;
    core.find(r.ix, cookie)
}

impl ExportLocks {
    /// Bytes of the value block that this client understands.
    pub fn lvb_len(&self) -> usize {
        if self.options.lvb_type {
            Lvb::LEN
        } else {
            Lvb::LEN_V1
        }
    }
}

impl AstDone {
    /// The export the callback went to.
    pub fn export(&self) -> ExportId {
        self.to.export
    }

    /// The resource, if the lock is still there.
    pub fn resource(&self) -> Option<ResId> {
        Some(self.ns.find(self.to.cookie)?.0)
    }
}
