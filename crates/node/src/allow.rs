//! Changes of what an app's mechtrons may do, while they run.

use std::rc::Rc;

use starlane_protocol::Address;

use crate::{
    app::{Allow, MechtronPlan, Role},
    guest::Level,
    node::Node,
    topics::Subscriber,
};

impl Node {
    /// Changes the grants of an app's mechtrons, from their next message on. Their actors keep running; a subscription ends if it
    /// is not permitted any more.
    pub fn handle_allow(&mut self, app: &Address, allow: &[Allow]) {
        for allow in allow {
            if let Some(plan) = self.apps.allow(app, allow) {
                self.replan(app, &plan);
            }
        }
    }

    /// Gives the actors of a mechtron a plan with other grants.
    fn replan(&mut self, app: &Address, plan: &Rc<MechtronPlan>) {
        let of_it = |role: &Role| role.app == *app && role.plan.name == plan.name && role.plan.keyed == plan.keyed;
        let mut refused = Vec::new();
        for id in self.actors_of(app) {
            let Some(actor) = self.actors.get_mut(&id).filter(|actor| of_it(&actor.role)) else { continue };
            actor.role.plan = Rc::clone(plan);
            let who = Subscriber::Actor(id);
            let has = self.topics.of(who).into_iter();
            let lost = has.filter(|topic| actor.role.permit_topic(self.name, &actor.address, topic).is_err());
            refused.extend(lost.map(|topic| (topic, who, actor.address.clone())));
        }
        for (topic, who, address) in refused {
            self.log(
                &address,
                Level::Warn,
                format!("its subscription to {topic} ended: its app does not allow it any more"),
            );
            self.unsubscribe(topic, who);
        }
    }
}
