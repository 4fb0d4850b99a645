// Reading a bundle: its manifest and the exported state. docs/bundle.md specifies both.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

using State = std::map<std::string, Tensor>;

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The tensors of a safetensors file: 8 bytes length of the header, JSON header, data.
inline State read_state(const std::string& path) {
  const std::string content = read_file(path);
  uint64_t length = 0;
  if (content.size() < sizeof length) throw std::runtime_error(path + " is cut off");
  std::memcpy(&length, content.data(), sizeof length);
  if (length > content.size() - sizeof length) throw std::runtime_error(path + " is cut off");
  const auto header = nlohmann::json::parse(content.substr(sizeof length, length));
  State state;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry.at("data_offsets").at(0), end = entry.at("data_offsets").at(1);
    if (entry.at("dtype") != "F32" || begin > end || sizeof length + length + end > content.size())
      throw std::runtime_error(path + ": wrong tensor " + name);
    Tensor tensor{entry.at("shape").get<std::vector<int64_t>>(), std::vector<float>((end - begin) / sizeof(float))};
    std::memcpy(tensor.values.data(), content.data() + sizeof length + length + begin, end - begin);
    state.emplace(name, std::move(tensor));
  }
  return state;
}

struct Bundle {
  std::string folder;
  nlohmann::json manifest;
  State state;

  explicit Bundle(const std::string& path) : folder(path + "/") {
    manifest = nlohmann::json::parse(read_file(folder + "manifest.json"));
    if (manifest.at("schema") != "edge-adapt/bundle/1") throw std::runtime_error("a bundle of another schema");
    state = read_state(folder + "initial.safetensors");
  }

  std::string graph(const char* name) const {
    return folder + manifest.at("graphs").at(name).at("file").get<std::string>();
  }
};
