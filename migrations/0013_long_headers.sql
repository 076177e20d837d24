-- A publisher's header is as long as it likes, an entry of an index is not: a message with one of thousands of random
-- characters could not be kept. No number of a rejection is longer than this.
drop index rejections_again;
create index rejections_again on rejections (left(properties -> 'headers' ->> 'x-dispatcher-rejection', 20), received_at)
    where properties -> 'headers' ->> 'x-dispatcher-rejection' is not null;
