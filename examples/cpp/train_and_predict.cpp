// Ten steps of plain gradient descent on a bundle, then predictions, with ONNX Runtime and a JSON header.
//
//   train_and_predict BUNDLE BATCH.json [RATE]
//
// BATCH.json: {"input_ids": [[...], ...], "attention_mask": [[...], ...], "labels": [...]}, padded to one length.
// Prints the loss before each step and then the label of each text. Nothing is written to the bundle.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "bundle.hpp"

namespace {

using Names = std::vector<std::string>;

struct Ids {
  std::vector<int64_t> shape, values;

  explicit Ids(const nlohmann::json& rows) {
    shape = {static_cast<int64_t>(rows.size())};
    if (rows.at(0).is_array()) shape.push_back(static_cast<int64_t>(rows.at(0).size()));
    for (const auto& row : rows.flatten()) values.push_back(row.get<int64_t>());
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    if (count != static_cast<int64_t>(values.size())) throw std::runtime_error("the rows of the batch differ in length");
  }
};

// Runs a graph on a batch and a state, and returns the outputs in the order asked for.
std::vector<Ort::Value> run(Ort::Session& session, std::map<std::string, Ids>& batch, State& state, const Names& outputs) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<const char*> input_names, output_names;
  std::vector<Ort::Value> inputs;
  for (auto& [name, ids] : batch) {
    input_names.push_back(name.c_str());
    inputs.push_back(Ort::Value::CreateTensor<int64_t>(memory, ids.values.data(), ids.values.size(), ids.shape.data(),
                                                       ids.shape.size()));
  }
  for (auto& [name, tensor] : state) {
    input_names.push_back(name.c_str());
    inputs.push_back(Ort::Value::CreateTensor<float>(memory, tensor.values.data(), tensor.values.size(),
                                                     tensor.shape.data(), tensor.shape.size()));
  }
  for (const auto& name : outputs) output_names.push_back(name.c_str());
  return session.Run(Ort::RunOptions{}, input_names.data(), inputs.data(), inputs.size(), output_names.data(),
                     output_names.size());
}

// One update as docs/bundle.md has it, with SGD: L1, clipping by the common norm, one rate. Returns the loss before it.
float step(Ort::Session& session, std::map<std::string, Ids>& batch, const Bundle& bundle, State& state, float rate) {
  Names trained, outputs{"loss"};
  for (const auto& tensor : bundle.manifest.at("state"))
    if (!tensor.at("group").is_null()) trained.push_back(tensor.at("name"));
  for (const auto& name : trained) outputs.push_back("grad/" + name);
  auto results = run(session, batch, state, outputs);
  float loss = *results[0].GetTensorData<float>();

  const auto& recipe = bundle.manifest.at("recipe");
  const auto l1_names = bundle.manifest.at("l1_names").get<Names>();
  size_t l1_count = 0;
  for (const auto& name : l1_names) l1_count += state.at(name).values.size();
  std::map<std::string, std::vector<float>> gradients;
  double squares = 0;
  for (size_t k = 0; k < trained.size(); ++k) {
    auto& values = state.at(trained[k]).values;
    const float* found = results[k + 1].GetTensorData<float>();
    std::vector<float> gradient(found, found + values.size());
    if (std::find(l1_names.begin(), l1_names.end(), trained[k]) != l1_names.end()) {
      const float pull = recipe.at("l1").get<float>() / static_cast<float>(l1_count);
      for (size_t i = 0; i < values.size(); ++i) {
        loss += pull * std::fabs(values[i]);
        gradient[i] += pull * static_cast<float>((values[i] > 0) - (values[i] < 0));
      }
    }
    for (float g : gradient) squares += static_cast<double>(g) * g;
    gradients[trained[k]] = std::move(gradient);
  }
  if (!std::isfinite(loss) || !std::isfinite(squares)) throw std::runtime_error("the loss is not finite");
  const double limit = recipe.at("clip_norm");
  const float factor = static_cast<float>(std::min(1.0, limit / (std::sqrt(squares) + 1e-6)));
  for (const auto& [name, gradient] : gradients) {
    auto& values = state.at(name).values;
    for (size_t i = 0; i < values.size(); ++i) values[i] -= rate * factor * gradient[i];
  }
  return loss;
}

void predict(Ort::Session& session, std::map<std::string, Ids> batch, const Bundle& bundle, State& state) {
  batch.erase("labels");
  auto results = run(session, batch, state, {"logits"});
  const auto shape = results[0].GetTensorTypeAndShapeInfo().GetShape();
  const float* logits = results[0].GetTensorData<float>();
  const auto labels = bundle.manifest.at("labels").get<Names>();  // reserved classes come after them
  for (int64_t row = 0; row < shape[0]; ++row) {
    const float* first = logits + row * shape[1];
    std::cout << labels[std::max_element(first, first + labels.size()) - first] << "\n";
  }
}

// How the manifest says that a graph is to be opened: without it, int8 or 4-bit weights are computed with otherwise.
Ort::SessionOptions options_of(const Bundle& bundle, const std::string& graph) {
  const auto& session = bundle.manifest.at("graphs").at(graph).at("session");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  if (!session.value("arena", true)) options.DisableCpuMemArena();
  if (!session.value("memory_pattern", true)) options.DisableMemPattern();
  for (const auto& [key, value] : session.at("config").items())
    options.AddConfigEntry(key.c_str(), value.get<std::string>().c_str());
  return options;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) throw std::runtime_error("usage: train_and_predict BUNDLE BATCH.json [RATE]");
  const Bundle bundle(argv[1]);
  const float rate = argc > 3 ? std::stof(argv[3]) : 0.01f;
  std::map<std::string, Ids> batch;
  const auto given = nlohmann::json::parse(read_file(argv[2]));
  for (const auto& name : {"input_ids", "attention_mask", "labels"}) batch.emplace(name, Ids(given.at(name)));
  for (int64_t label : batch.at("labels").values)
    if (label < 0 || label >= static_cast<int64_t>(bundle.manifest.at("labels").size()))
      throw std::runtime_error("a label lies outside the classes");

  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "edge-adapt");
  State state = bundle.state;
  {
    Ort::Session train(environment, bundle.graph("train").c_str(), options_of(bundle, "train"));
    std::cout.precision(9);
    for (int i = 0; i < 10; ++i) std::cout << "loss " << step(train, batch, bundle, state, rate) << "\n";
  }
  Ort::Session infer(environment, bundle.graph("infer").c_str(), options_of(bundle, "infer"));
  predict(infer, batch, bundle, state);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 1;
}
