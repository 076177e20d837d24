use super::*;

const CODE: &str = "您的验证码是：【变量】。请不要把验证码泄露给其他人。";

fn template(text: &str) -> Template {
    Template::new("7", text, VARIABLE_MAX).unwrap()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_word_in_brackets_is_a_place() {
    for (text, places) in [(CODE, 1), ("没有变量", 0), ("【变量】您好，订单【单号】已发货【】。", 3)]
    {
        assert_eq!(template(text).places(), places, "{text}");
    }
    assert_eq!(template("订单【单号】已发货。").text(), "订单【变量】已发货。");
    assert_eq!(template("【变量】好【变量】").fill(&words(&["甲", "乙"])), "甲好乙");
}

#[test]
fn a_signature_is_no_variable_and_a_bracket_is_closed() {
    for (text, problem) in [
        ("【互亿无线】您的验证码是：【变量】。", "begins with 【互亿无线】"),
        ("您的验证码是：【变量。", "holds a 【"),
        ("【变量】", "has no text"),
        ("", "has no text"),
    ] {
        let error = Template::new("7", text, 8).unwrap_err();
        assert!(error.starts_with(problem), "{text}: {error}");
    }
}

#[test]
fn variables_are_judged_by_number_and_characters() {
    let two = template("【变量】您好，您的订单【变量】已发货。");
    assert_eq!(two.check(&words(&["张三", "12345678"])), Ok(()));
    assert_eq!(two.check(&words(&["张三"])), Err(Misfit::Count { places: 2, given: 1 }));
    let long = two.check(&words(&["张三", "一二三四五六七八九"]));
    assert_eq!(long, Err(Misfit::TooLong { place: 2, characters: 9, most: 8 }));
    assert!(two.check(&words(&["", "1"])).is_ok(), "whether ihuyi takes an empty one is not published");
}

#[test]
fn a_text_is_matched_to_the_character() {
    let code = template(CODE);
    assert_eq!(code.matches("您的验证码是：2546。请不要把验证码泄露给其他人。"), Ok(()));
    for (text, at) in [
        ("您的验证码为：2546。请不要把验证码泄露给其他人。", 5),
        ("您的验证码是：2546。请不要把验证码泄露给他人。", 7),
        ("您的验证码是：2546。请不要把验证码泄露给其他人。谢谢", 7),
        ("", 0),
    ] {
        assert_eq!(code.matches(text), Err(Misfit::Differs(at)), "{text}");
    }
    let long = code.matches("您的验证码是：123456789。请不要把验证码泄露给其他人。");
    assert_eq!(long, Err(Misfit::TooLong { place: 1, characters: 9, most: 8 }));
    assert_eq!(template("固定").matches("固定的"), Err(Misfit::Differs(2)));
    assert_eq!(template("固定").matches("固定"), Ok(()));
}

#[test]
fn a_fixed_text_inside_a_variable_is_no_obstacle() {
    let orders = Template::new("7", "订单【变量】，【变量】。", 4).unwrap();
    assert_eq!(orders.matches("订单a，b，cde。"), Ok(()));
    // As short as can be, the second would be too long.
    assert_eq!(orders.matches("订单a，b，cdef。"), Ok(()), "a，b and cdef");
    assert_eq!(orders.matches("订单。，。。"), Ok(()));
    assert!(orders.matches("订单abcde，cdefg。").is_err());
    let beside = Template::new("7", "码【变量】【变量】", 2).unwrap();
    assert_eq!((beside.matches("码abcd"), beside.matches("码a")), (Ok(()), Ok(())));
    assert!(beside.matches("码abcde").is_err());
}

#[test]
fn a_name_or_an_id_finds_its_template() {
    let templates = Templates::new([("code".into(), template(CODE))].into());
    let job = |id: &str| Payload::Template { id: id.into(), variables: words(&["1"]) };
    for id in ["code", "7"] {
        assert_eq!(templates.resolve(&job(id)).template_id(), Some("7"));
        assert_eq!(templates.rendered(&job(id)), "您的验证码是：1。请不要把验证码泄露给其他人。");
        assert!(templates.check(id, &words(&["123456789"])).unwrap_err().contains("templates.code.variable_max"));
    }
    assert_eq!(templates.resolve(&job("8")).template_id(), Some("8"));
    assert_eq!(templates.check("8", &[]), Ok(()), "not configured: ihuyi judges it");
    let text = Payload::Text("x".into());
    assert_eq!(*templates.resolve(&text), text);
}

#[test]
fn of_many_the_nearest_is_named() {
    let (code, order) = (template(CODE), Template::new("8", "您的订单【变量】已发货。", 8).unwrap());
    let templates = Templates::new([("code".into(), code), ("order".into(), order)].into());
    assert_eq!(templates.matching("您的订单77已发货。"), Ok("order"));
    assert_eq!(templates.matching("您的订单77已收到。"), Err(Some(("order", Misfit::Differs(4)))));
    let long = Misfit::TooLong { place: 1, characters: 9, most: 8 };
    assert_eq!(templates.matching("您的订单123456789已发货。"), Err(Some(("order", long))));
    assert_eq!(Templates::default().matching("x"), Err(None));
}
