-- The demo's summary: run by demo.sh with psql on its database.

\echo 'Jobs by state and last code of the gateway'
select state, code,
       case code
           when 0 then '提交失败 submit failed'
           when 2 then '提交成功 taken by ihuyi'
           when 4030 then '手机号码已被列入黑名单 number on the blacklist'
           when 4080 then '同一手机号码同一秒钟之内发送频率不能超过1条 twice in one second'
           else case state
               when 'waiting' then '等待 ' || coalesce(wait_reason, '')
               when 'expired' then '过期未发 not sent in time'
               else '' end
       end as meaning,
       count(*) as jobs
from jobs
group by state, code, meaning
order by jobs desc;

\echo 'Messages that were no valid job'
select reason, count(*) as messages, min(detail) as for_example
from rejections
group by reason
order by messages desc;

\echo 'Requests to the gateway by outcome'
select outcome, code, count(*) as requests,
       round(1000 * percentile_cont(0.5) within group (order by extract(epoch from finished_at - started_at))::numeric, 1) as p50_ms,
       round(1000 * percentile_cont(0.99) within group (order by extract(epoch from finished_at - started_at))::numeric, 1) as p99_ms
from attempts
group by outcome, code
order by requests desc;

\echo 'Pace of the accepted: all were published at once, the account lets 100 a second through'
select count(*) as accepted,
       round(max(elapsed)::numeric, 1) as first_to_last_s,
       round((0.9 * count(*) / nullif(percentile_cont(0.9) within group (order by elapsed), 0))::numeric) as per_second_of_first_90_percent,
       round(percentile_cont(0.5) within group (order by latency)::numeric, 2) as published_to_accepted_p50_s,
       round(percentile_cont(0.99) within group (order by latency)::numeric, 2) as p99_s
from (select extract(epoch from a.finished_at - min(a.finished_at) over ()) as elapsed,
             extract(epoch from a.finished_at - coalesce(j.published_at, j.created_at)) as latency
      from attempts a join jobs j on j.id = a.job_id
      where a.outcome = 'accepted') as sent;

\echo 'Most attempts'
select id, left(mobile, 3) || '****' || right(mobile, 4) as mobile, state, attempts, code
from jobs
order by attempts desc, id
limit 5;

\echo 'The hot number: eight messages, one a second, in the order published'
select j.id, left(j.mobile, 3) || '****' || right(j.mobile, 4) as mobile, j.state, j.attempts,
       to_char(min(a.started_at), 'HH24:MI:SS.MS') as first_sent
from jobs j left join attempts a on a.job_id = j.id
where j.mobile = '13900008888'
group by j.id
order by min(a.started_at);
