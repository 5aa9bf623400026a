//! The API's description: what the routes say of themselves, and what holds for all of them.

use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr,
    Required, ResponseBuilder, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::problem::{FieldError, PROBLEM_JSON, ProblemDoc};

const KEY: &str = "api_key";

/// The groups in the order in which a newcomer needs them.
const GROUPS: [(&str, &str); 14] = [
    ("partners", "Neobank partners: terms, API keys, the webhook's secret. For operators"),
    ("users", "A partner's users and their KYC"),
    ("pools", "Prefunded buffer pools: top-ups in, withdrawals out"),
    ("accounts", "Users' fiat accounts and their statements"),
    ("cards", "Cards and where their money comes from: pool, account, or the partner's choice"),
    ("sandbox", "A tap through the real listener, without a card network"),
    ("authorizations", "Every tap: how it was decided, what it holds, what happened to it"),
    ("rates", "Units of one currency for one unit of another, with a markup"),
    ("crypto deposits", "Crypto that arrived for a user"),
    ("quotes", "A conversion at a rate that holds for 30 seconds"),
    ("off-ramps", "A quote executed: the account is credited, once"),
    ("pay-ins", "Money that arrived for an account"),
    ("payouts", "Money that leaves an account"),
    ("system", "Health, metrics, and the hash of the live book"),
];

/// The description before any route.
pub(super) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Card authorization engine")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Operator keys make every call; a partner's keys see and change that partner's things alone. Money is \
             decimal text, rates are text, times are RFC 3339 UTC with microseconds. A write is answered only when \
             it is durable; a read sees every write answered before it.",
        ))
        .build();
    let mut errors = Vec::new();
    FieldError::schemas(&mut errors);
    let components = ComponentsBuilder::new()
        .security_scheme(KEY, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .schema("ProblemError", FieldError::schema())
        .schema("Problem", ProblemDoc::schema())
        .schemas_from_iter(errors)
        .build();
    let groups = GROUPS.map(|(name, what)| TagBuilder::new().name(name).description(Some(what)).build());
    OpenApiBuilder::new().info(info).components(Some(components)).tags(Some(groups)).build()
}

/// Adds to every operation what all of them share: the key, the problems, and the Idempotency-Key of every POST.
pub(super) fn finish(api: &mut OpenApi) {
    for item in api.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            if operation.security.is_none() {
                operation.security = Some(vec![SecurityRequirement::new(KEY, Vec::<String>::new())]);
            }
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let response = ResponseBuilder::new().description("Any problem (RFC 9457)").content(PROBLEM_JSON, problem);
            operation.responses.responses.entry("default".to_owned()).or_insert(RefOr::T(response.build()));
            if method == HttpMethod::Post {
                operation.parameters.get_or_insert_with(Vec::new).push(idempotency_key());
            }
        }
    }
}

fn idempotency_key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Any text of 1 to 255 characters. The same key and body get the same answer for 24 h, also after a \
             restart; another body 422; a second one at once waits or gets 409 in_progress.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, item.get.as_mut()),
        (HttpMethod::Put, item.put.as_mut()),
        (HttpMethod::Post, item.post.as_mut()),
        (HttpMethod::Delete, item.delete.as_mut()),
        (HttpMethod::Patch, item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}
