// The state tensors of infer.onnx have defaults, which onnxruntime-web does not let a feed replace. Without its default
// such a tensor is an ordinary input: the defaults are cut out of the file's bytes here, and nothing else is touched.
//
// An ONNX file is a protobuf message: fields with a number and a length, one behind the other.

const GRAPH = 7; // of ModelProto
const INITIALIZER = 5; // of GraphProto
const NAME = 8; // of TensorProto

// The file without the initializers of the given names.
export function withoutDefaults(bytes, names) {
  const parts = [];
  for (const model of fields(bytes)) {
    if (model.number !== GRAPH) {
      parts.push(model.whole);
      continue;
    }
    const kept = [];
    for (const field of fields(model.content))
      if (field.number !== INITIALIZER || !names.has(nameOf(field.content))) kept.push(field.whole);
    const graph = joined(kept);
    parts.push(joined([varint((GRAPH << 3) | 2), varint(graph.length), graph]));
  }
  return joined(parts);
}

function nameOf(tensor) {
  for (const field of fields(tensor)) if (field.number === NAME) return new TextDecoder().decode(field.content);
  return "";
}

// Number, content and all bytes of each field of a message.
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (!(byte & 128)) return value;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const key = number();
    let length;
    if ((key & 7) === 0) number();
    else if ((key & 7) === 1) at += 8;
    else if ((key & 7) === 5) at += 4;
    else length = number();
    const begin = at;
    if (length !== undefined) at += length;
    yield { number: key >>> 3, content: bytes.subarray(begin, at), whole: bytes.subarray(start, at) };
  }
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.from([...bytes, value]);
}

function joined(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
