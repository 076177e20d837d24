# The demo's 1,000 job messages, one JSON object a line: order and logistics notices of an online shop.
# Usage: awk -v run=PREFIX -v past=T -v soon=T -v later=T -v far=T -f demo-jobs.awk   (T: RFC 3339)
#
# The same for every run but for the ids' prefix and the times. Among them, and counted on by demo.sh:
#   10 bad numbers · 8 messages for one number · 3 to a blacklisted one · 3 already expired · 3 due soon ·
#   2 due tomorrow · 5 by template · 1 repeat of an id · 1 id used for another text
# The numbers are made up: after three digits of a real prefix come four zeros.

# Park–Miller: the same numbers in every awk.
function random(n) {
    state = (state * 16807) % 2147483647
    return state % n
}

function one_of(list,    words, n) {
    n = split(list, words, " ")
    return words[random(n) + 1]
}

function digits(n,    text) {
    while (n-- > 0) text = text random(10)
    return text
}

function order_number() { return "DD2026" digits(10) }
function waybill() { return one_of("SF YT ZT JD STO") digits(12) }
function amount() { return random(900) + 20 "." digits(2) }
function courier() { return one_of("王 李 张 刘 陈 杨 赵 黄 周 吴") "师傅" }
function company() { return one_of("顺丰 圆通 中通 京东 申通 韵达") }
function city() { return one_of("上海 杭州 广州 成都 武汉 西安 南京 天津") }
function place() { return one_of("菜鸟驿站 丰巢快递柜 小区东门便利店 物业服务中心 学府路代收点") }
function day() { return random(12) + 1 "月" random(28) + 1 "日" }

function text_of(kind,    hour) {
    hour = 9 + random(9)
    if (kind == 0) return "您的订单" order_number() "已支付成功，金额" amount() "元，预计" day() "送达。"
    if (kind == 1) return "您的订单" order_number() "已从" city() "仓发出，" company() "单号" waybill() "，请留意查收。"
    if (kind == 2) return "您的包裹已到" place() "，取件码" digits(1) "-" digits(1) "-" digits(4) "，请于今日" hour + 4 ":00前领取。"
    if (kind == 3) return company() courier() "正在派送您的包裹" waybill() "，预计" hour ":00-" hour + 2 ":00送达，请保持电话畅通。"
    if (kind == 4) return "您的订单" order_number() "已签收，感谢惠顾，期待您再次光临。"
    if (kind == 5) return "您的退款" amount() "元已原路退回，订单" order_number() "，预计1-3个工作日到账。"
    if (kind == 6) return "您的包裹" waybill() "因" one_of("暴雨 大雪 台风 道路管制") "延误，预计" day() "送达，敬请谅解。"
    return "会员日满199减50，" city() "仓次日达，优惠码" digits(6) "，" day() "截止，退订回T"
}

# Pickup codes and couriers on their way are urgent, advertising is not.
function priority_of(kind) { return kind == 2 || kind == 3 ? "high" : kind == 7 ? "bulk" : "normal" }

function mobile_of(i,    prefix, rest) {
    prefix = one_of("134 138 139 150 158 166 178 186 189 191 198")
    rest = sprintf("%04d", i)
    # As careless publishers write them.
    if (i % 50 == 1) return "+86 " prefix "-0000-" rest
    if (i % 50 == 2) return "0086" prefix "0000" rest
    return prefix "0000" rest
}

function field(name, value) { return ",\"" name "\":\"" value "\"" }

function line(id, mobile, content, priority, more) {
    return "{\"id\":\"" id "\"" field("mobile", mobile) field("content", content) field("priority", priority) more "}"
}

function id_of(i) { return run sprintf("-%04d", i) }

BEGIN {
    state = 20261123
    bad_count = split("12345|1380000001|138000000011|23800000001|12800000001|not-a-number|010-88886666|" \
        "+1 415 555 0100|1380000000x|+86 1380000", bad, "|")
    for (i = 1; i <= 1000; i++) {
        kind = random(8)
        mobile = mobile_of(i)
        content = text_of(kind)
        priority = priority_of(kind)
        id = id_of(i)
        more = i % 10 == 0 ? ",\"metadata\":{\"shop\":\"" random(20) + 1 "\",\"notice\":" kind "}" : ""

        if (i % 100 == 37) mobile = bad[int(i / 100) % bad_count + 1]
        else if (i % 125 == 60) { mobile = "13900008888"; priority = "normal" }
        else if (i % 333 == 111) mobile = "13800000000"
        else if (i == 150 || i == 350 || i == 550) more = more field("expires_at", past)
        else if (i == 210 || i == 410 || i == 610) more = more field("not_before", soon)
        else if (i == 220 || i == 720) more = more field("not_before", far)
        else if (kind == 2) more = more field("expires_at", later)

        if (i == 503) print previous
        else if (i == 905) print line(id_of(904), mobile, content, priority, "")
        else if (i % 200 == 25)
            print "{\"id\":\"" id "\"" field("mobile", mobile) field("template_id", "1") \
                ",\"variables\":[\"" digits(6) "\"]" field("priority", "high") "}"
        else print previous = line(id, mobile, content, priority, more)
    }
}
