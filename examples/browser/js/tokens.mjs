// Texts to token ids, as the device makes them, and padded batches of them.
import { Refused } from "./errors.mjs";

const MOST_LETTERS = 100_000;
// Chinese characters outside the first 65,536 letters, as BERT counts them: the package overlooks them.
const FAR_CHINESE = /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

export class Encoder {
  // `make` makes the tokenizer of the package @huggingface/tokenizers from the JSON of a tokenizer file.
  constructor(json, info, make) {
    this.info = info;
    this.tokenizer = make(json);
    const bert = json.normalizer?.type === "BertNormalizer" ? json.normalizer : {};
    this.lowers = Boolean(bert.lowercase);
    this.chinese = Boolean(bert.handle_chinese_chars);
  }

  // Token ids of each text, special tokens included, cut to what the bundle takes.
  encode(texts) {
    return texts.map((text, k) => this.encodeOne(text, `Text ${k + 1} of ${texts.length}`));
  }

  encodeOne(text, which) {
    if (!text.trim()) throw new Refused(`${which} is empty`);
    if (text.length > MOST_LETTERS) throw new Refused(`${which} has more than ${MOST_LETTERS} letters`);
    if (/\p{Surrogate}/u.test(text)) throw new Refused(`${which} is no text: it holds half a letter`);
    if (this.lowers) text = text.replaceAll("Σ", "σ"); // JavaScript makes it ς at the end of a word
    if (this.chinese) text = text.replace(FAR_CHINESE, " $& ");
    const whole = this.tokenizer.encode(text).ids;
    if (!whole.length) throw new Refused(`${which} has no token that the model knows`);
    const most = this.info.max_tokens;
    if (whole.length <= most) return whole;
    const bare = this.tokenizer.encode(text, { add_special_tokens: false }).ids;
    const special = whole.length - bare.length;
    let before = 0; // so many of the special tokens stand before the text
    while (before < special && bare.some((id, k) => whole[before + k] !== id)) before++;
    return [...whole.slice(0, before + most - special), ...whole.slice(before + bare.length)];
  }

  // Throws unless the device's ids of some texts, {text, ids}, are found here, too.
  check(probes) {
    for (const { text, ids } of probes)
      if (String(this.encode([text])) !== String(ids))
        throw new Refused(`This page cannot read the bundle's tokenizer: it cuts ${JSON.stringify(text)} otherwise`);
  }

  // What the graphs take: {input_ids, attention_mask}, int64 (texts, longest), padding at the end.
  batch(encoded, Tensor) {
    const longest = Math.max(...encoded.map((ids) => ids.length));
    const ids = new BigInt64Array(encoded.length * longest).fill(BigInt(this.info.pad_id));
    const mask = new BigInt64Array(ids.length);
    encoded.forEach((row, k) =>
      row.forEach((id, place) => {
        ids[k * longest + place] = BigInt(id);
        mask[k * longest + place] = 1n;
      }),
    );
    const shape = [encoded.length, longest];
    return { input_ids: new Tensor("int64", ids, shape), attention_mask: new Tensor("int64", mask, shape) };
  }
}
