-- Templates that were registered at ihuyi, and what their review came to.

create table templates (
    -- ihuyi's number of it.
    id          text        not null,
    -- The account that it was registered for; null where a review came of one that was registered elsewhere.
    account     text,
    -- As registered, with 【变量】 for each variable.
    content     text,
    -- `pending` until ihuyi pushes its review.
    state       text        not null default 'pending',
    -- Of the review: 2 is approved.
    code        bigint,
    message     text,
    added_by    text,
    added_at    timestamptz,
    reviewed_at timestamptz,

    constraint templates_pkey primary key (id),
    constraint templates_state_check check (state in ('pending', 'approved', 'refused')),
    constraint templates_reviewed_check check ((state = 'pending') = (reviewed_at is null))
);
