// A table: what is known elsewhere under a name, and the advice. Two kinds of advice: another name, or another way to say it.
#include "frontend/syntax/familiar_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace nnc {
namespace {

struct Renamed {
  std::string_view there, here;
};

constexpr Renamed renamed[] = {
    // losses and metrics
    {"mse", "mean_squared_error"}, {"mse_loss", "mean_squared_error"}, {"MSELoss", "mean_squared_error"},
    {"mae", "mean_absolute_error"}, {"l1_loss", "mean_absolute_error"}, {"L1Loss", "mean_absolute_error"},
    {"rmse", "root_mean_squared_error"}, {"huber_loss", "huber"}, {"HuberLoss", "huber"}, {"smooth_l1_loss", "huber"}, {"SmoothL1Loss", "huber"},
    {"kl_div", "kl_divergence"}, {"KLDivLoss", "kl_divergence"}, {"r2_score", "r2"}, {"f1_score", "f1"}, {"confusion_matrix", "confusion"},
    {"top_k_accuracy", "top_k"}, {"FocalLoss", "focal_loss"}, {"focal", "focal_loss"}, {"sigmoid_focal_loss", "binary_focal_loss"}, {"BinaryFocalLoss", "binary_focal_loss"},
    {"DiceLoss", "dice_loss"}, {"dice", "dice_loss"}, {"TripletMarginLoss", "triplet_loss"}, {"triplet_margin_loss", "triplet_loss"}, {"TripletLoss", "triplet_loss"},
    {"InfoNCE", "contrastive_loss"}, {"info_nce", "contrastive_loss"}, {"NTXentLoss", "contrastive_loss"}, {"CosineEmbeddingLoss", "cosine_loss"}, {"cosine_embedding_loss", "cosine_loss"},
    {"CosineSimilarity", "cosine_similarity"}, {"GaussianNLLLoss", "gaussian_nll"}, {"gaussian_nll_loss", "gaussian_nll"}, {"PoissonNLLLoss", "poisson_nll"},
    {"poisson_nll_loss", "poisson_nll"},
    // layers
    {"Linear", "Dense"}, {"linear", "Dense"}, {"dense", "Dense"}, {"FullyConnected", "Dense"}, {"embedding", "Embedding"}, {"layer_norm", "LayerNorm"},
    {"RMSNorm", "RmsNorm"}, {"rms_norm", "RmsNorm"}, {"group_norm", "GroupNorm"}, {"Flatten", "flatten"},
    {"MaxPool1d", "maxpool1d"}, {"MaxPool2d", "maxpool2d"}, {"max_pool1d", "maxpool1d"}, {"max_pool2d", "maxpool2d"}, {"AvgPool1d", "avgpool1d"}, {"AvgPool2d", "avgpool2d"},
    {"avg_pool1d", "avgpool1d"}, {"avg_pool2d", "avgpool2d"}, {"AdaptiveAvgPool1d", "adaptive_avgpool1d"}, {"AdaptiveAvgPool2d", "adaptive_avgpool2d"},
    {"AdaptiveMaxPool1d", "adaptive_maxpool1d"}, {"AdaptiveMaxPool2d", "adaptive_maxpool2d"}, {"adaptive_avg_pool2d", "adaptive_avgpool2d"}, {"adaptive_max_pool2d", "adaptive_maxpool2d"},
    {"GlobalAveragePooling2D", "global_avgpool2d"}, {"GlobalMaxPooling2D", "global_maxpool2d"}, {"conv1d", "Conv1d"}, {"conv2d", "Conv2d"}, {"Conv2D", "Conv2d"}, {"Conv1D", "Conv1d"},
    {"conv_transpose2d", "ConvTranspose2d"}, {"Conv2DTranspose", "ConvTranspose2d"}, {"Unfold", "unfold"}, {"im2col", "unfold"}, {"dropout2d", "dropout"}, {"BatchNorm2D", "BatchNorm2d"},
    {"MultiheadAttention", "MultiHeadAttention"}, {"multi_head_attention", "MultiHeadAttention"}, {"MHA", "MultiHeadAttention"}, {"SelfAttention", "MultiHeadAttention"},
    {"scaled_dot_product_attention", "attention"}, {"dot_product_attention", "attention"}, {"Attention", "MultiHeadAttention"}, {"TransformerEncoderBlock", "TransformerEncoderLayer"},
    {"PositionalEncoding", "SinusoidalPositions"}, {"SinePositionEncoding", "SinusoidalPositions"}, {"PositionEmbedding", "Positions"}, {"PositionalEmbedding", "Positions"},
    {"RotaryEmbedding", "rotary"}, {"RotaryPositionalEmbeddings", "rotary"}, {"RoPE", "rotary"}, {"apply_rotary_pos_emb", "rotary"},
    {"RNN", "Rnn"}, {"SimpleRNN", "Rnn"}, {"GRU", "Gru"}, {"LSTM", "Lstm"},
    {"cat", "concat"}, {"concatenate", "concat"}, {"Concatenate", "concat"}, {"hstack", "concat"}, {"chunk", "split"},
    // activations
    {"ReLU", "relu"}, {"Relu", "relu"}, {"ReLU6", "relu6"}, {"PReLU", "PRelu"}, {"LeakyReLU", "leaky_relu"}, {"LeakyRelu", "leaky_relu"}, {"GELU", "gelu"}, {"Gelu", "gelu"},
    {"SiLU", "silu"}, {"swish", "silu"}, {"Swish", "silu"}, {"ELU", "elu"}, {"SELU", "selu"}, {"CELU", "celu"}, {"Mish", "mish"}, {"Tanh", "tanh"},
    {"Sigmoid", "sigmoid"}, {"Softmax", "softmax"}, {"LogSoftmax", "log_softmax"}, {"Softplus", "softplus"}, {"Softsign", "softsign"},
    {"LogSigmoid", "log_sigmoid"}, {"logsigmoid", "log_sigmoid"}, {"Hardtanh", "hardtanh"},
    // optimizers and schedules
    {"SGD", "sgd"}, {"Adam", "adam"}, {"AdamW", "adamw"}, {"RMSprop", "rmsprop"}, {"RMSProp", "rmsprop"}, {"Adagrad", "adagrad"},
    {"NAdam", "nadam"}, {"Nadam", "nadam"}, {"RAdam", "radam"}, {"Rprop", "rprop"}, {"Adadelta", "adadelta"}, {"Lion", "lion"}, {"LAMB", "lamb"}, {"Lamb", "lamb"}, {"Adafactor", "adafactor"},
    {"CosineAnnealingLR", "cosine"}, {"StepLR", "step_decay"}, {"ExponentialLR", "exponential"},
    // functions and initial values
    {"fabs", "abs"}, {"ln", "log"}, {"power", "pow"}, {"amax", "max"}, {"amin", "min"}, {"ndim", "rank"}, {"numel", "count"}, {"detach", "stop_gradient"}, {"no_grad", "stop_gradient"},
    {"rand_like", "uniform_like"}, {"randn_like", "normal_like"}, {"DropPath", "StochasticDepth"},
    {"ndtr", "normal_cdf"}, {"phi", "normal_cdf"}, {"kaiming_normal", "he"}, {"kaiming_uniform", "he_uniform"}, {"xavier_uniform", "glorot"},
    {"xavier_normal", "glorot_normal"},
};

struct Advice {
  std::string_view there, instead;
};

constexpr std::string_view another_view = "`x as [A, B]` views the same values in other dimensions";
constexpr std::string_view another_order = "`x as [B, A]` gives the dimensions of `x[A, B]` in another order; often none is needed, since operands align by name";
constexpr std::string_view how_many_classes = "give the number a name, `dim Classes = 10`, and write `class(Classes)` and `Dense(Classes)`";
constexpr std::string_view two_classes = "`binary_cross_entropy` takes logits: leave a `sigmoid` before it out";
constexpr std::string_view several_classes = "`cross_entropy` takes logits: leave a `softmax` before it out";
constexpr std::string_view product = "a product of matrices is `sum(a * b, over: D)`, where D is the dimension that both have";
constexpr std::string_view between = "write `minimum(maximum(x, low), high)`";

constexpr std::string_view batch_norm = "`BatchNorm1d` takes [B, C] and [B, C, L], `BatchNorm2d` [B, C, H, W]";
constexpr std::string_view instance_norm = "`InstanceNorm1d` takes [B, C, L], `InstanceNorm2d` [B, C, H, W]";

constexpr std::string_view larger = "`upsample1d` takes [B, C, T], `upsample2d` [B, C, H, W]";
constexpr std::string_view borders = "`pad1d` takes [B, C, T], `pad2d` [B, C, H, W]; `mode: reflect` and `mode: edge` say what the border is made of";

constexpr std::string_view several_layers = "layers follow each other with `x |> layers: stack(6, TransformerEncoderLayer(8))`";

constexpr Advice advice[] = {
    {"TransformerEncoder", several_layers},
    {"TransformerDecoder", "write `repeat 6 { update h = layers: TransformerDecoderLayer(8)(h, memory) }`"},
    {"Upsample", larger},
    {"upsample", larger},
    {"interpolate", larger},
    {"UpSampling2D", larger},
    {"pad", borders},
    {"ZeroPad2d", borders},
    {"ZeroPadding2D", borders},
    {"ReflectionPad1d", borders},
    {"ReflectionPad2d", borders},
    {"ReplicationPad1d", borders},
    {"ReplicationPad2d", borders},
    {"BatchNorm", batch_norm},
    {"BatchNormalization", batch_norm},
    {"batch_norm", batch_norm},
    {"InstanceNorm", instance_norm},
    {"instance_norm", instance_norm},
    {"reshape", another_view},
    {"view", another_view},
    {"view_as", another_view},
    {"squeeze", "`x as [B]` leaves a dimension of size 1 out of `x[B, 1]`"},
    {"unsqueeze", "`x as [B, 1]` adds a dimension of size 1; often none is needed, since operands align by name"},
    {"expand_dims", "`x as [B, 1]` adds a dimension of size 1; often none is needed, since operands align by name"},
    {"expand", "operands align by name: what lacks a dimension is repeated along it; `spread(x, over: D)` does so by itself"},
    {"transpose", another_order},
    {"permute", another_order},
    {"swapaxes", another_order},
    {"moveaxis", another_order},
    {"num_classes", how_many_classes},
    {"n_classes", how_many_classes},
    {"NumClasses", how_many_classes},
    {"bce", two_classes},
    {"bce_loss", two_classes},
    {"BCELoss", two_classes},
    {"bce_with_logits", two_classes},
    {"BCEWithLogitsLoss", two_classes},
    {"binary_cross_entropy_with_logits", two_classes},
    {"binary_crossentropy", two_classes},
    {"ce", several_classes},
    {"nll_loss", several_classes},
    {"NLLLoss", several_classes},
    {"cross_entropy_loss", several_classes},
    {"CrossEntropyLoss", several_classes},
    {"softmax_cross_entropy", several_classes},
    {"categorical_crossentropy", several_classes},
    {"sparse_categorical_crossentropy", several_classes},
    {"matmul", product},
    {"mm", product},
    {"bmm", product},
    {"dot", product},
    {"einsum", product},
    {"clamp", between},
    {"clip", between},
    {"square", "write `x^2`"},
    {"arange", "`index(D)` counts along a dimension D"},
    {"erfc", "write `2 * normal_cdf(-sqrt(2) * x)`, which loses no digits"},
    {"batch_size", "the batch is an option of the data: `data NAME, batch: 32`"},
    {"var", "`moments(x, over: D)` gives mean and variance"},
    {"variance", "`moments(x, over: D)` gives mean and variance"},
    {"Sequential", "layers follow each other in a pipeline: `x |> Dense(64) |> relu |> Dense(10)`"},
    {"int", "types are f32, f64, i32, i64, u8, bool and class(N)"},
    {"float", "`f32(x)` and `f64(x)` convert"},
};

constexpr Renamed options[] = {
    {"num_heads", "Heads"}, {"nhead", "Heads"}, {"n_heads", "Heads"}, {"n_head", "Heads"}, {"heads", "Heads"},
    {"num_kv_heads", "kv_heads"}, {"num_key_value_heads", "kv_heads"}, {"n_kv_heads", "kv_heads"}, {"is_causal", "causal"}, {"use_causal_mask", "causal"}, {"tgt_is_causal", "causal"},
    {"dropout_p", "dropout"}, {"attn_dropout", "dropout"}, {"attention_dropout", "dropout"}, {"dropout_rate", "dropout"},
    {"dim_feedforward", "hidden"}, {"intermediate_size", "hidden"}, {"ffn_dim", "hidden"}, {"layer_norm_eps", "eps"}, {"attention_mask", "mask"},
    {"hidden_size", "H"}, {"num_layers", "layers"}, {"proj_size", "projection"}, {"max_len", "Count"}, {"num_positions", "Count"}, {"rope", "rotary"},
    {"padding", "pad"}, {"output_padding", "output_pad"}, {"kernel_size", "kernel"}, {"strides", "stride"}, {"dilation_rate", "dilation"}, {"pool_size", "kernel"},
    {"count_include_pad", "count_pad"}, {"scale_factor", "scale"}, {"output_size", "size"}, {"padding_mode", "mode"}, {"num_groups", "Groups"}, {"use_bias", "bias"},
    {"out_channels", "Out"}, {"out_features", "Out"}, {"filters", "Out"}, {"features", "Out"}, {"units", "Out"},
    {"num_embeddings", "Count"}, {"embedding_dim", "Width"}, {"track_running_stats", "track"}, {"elementwise_affine", "affine"}, {"epsilon", "eps"},
    {"p", "rate"}, {"prob", "rate"}, {"probability", "rate"}, {"std", "deviation"}, {"stddev", "deviation"},
    {"negative_slope", "slope"}, {"min_val", "low"}, {"max_val", "high"}, {"beta", "delta"},
    {"dim", "over"}, {"axis", "over"}, {"dims", "over"}, {"axes", "over"},
    {"reduction", "reduce"}, {"label_smoothing", "smoothing"}, {"ignore_index", "ignore"}, {"padding_idx", "padding"},
    {"learning_rate", "lr"}, {"weight_decay", "decay"}, {"initial_accumulator_value", "start"}, {"T_max", "total"}, {"eta_min", "final"}, {"gamma", "by"}, {"step_size", "every"},
};

constexpr std::string_view from_input = "a layer takes the sizes of its input from the input: leave it out";

constexpr std::string_view which_keys = "`mask` is true where a key takes part, PyTorch's where it does not: write `mask: not padding`";

constexpr Advice option_advice[] = {
    {"embed_dim", from_input},
    {"d_model", from_input},
    {"kdim", from_input},
    {"vdim", from_input},
    {"batch_first", "sequences are [B, T, C], rows first: leave it out"},
    {"key_padding_mask", which_keys},
    {"src_key_padding_mask", which_keys},
    {"tgt_key_padding_mask", which_keys},
    {"tgt_mask", "a decoder is causal unless `causal: false` is said; `mask` is true where a position takes part"},
    {"memory_key_padding_mask", "`memory_mask` is true where a key takes part, PyTorch's where it does not: write `memory_mask: not padding`"},
    {"attn_mask", "`causal: true` hides what comes later; any other is `mask`, true where a query sees a key"},
    {"src_mask", "`causal: true` hides what comes later; any other is `mask`, true where a query sees a key"},
    {"need_weights", "the shares are not among the results: leave it out"},
    {"enable_gqa", "keys and values of fewer heads than the queries are taken as they are: leave it out"},
    {"add_bias_kv", "there are no keys and values beside those of the sequence: leave it out"},
    {"add_zero_attn", "there are no keys and values beside those of the sequence: leave it out"},
    {"in_channels", from_input},
    {"in_features", from_input},
    {"num_features", from_input},
    {"num_channels", from_input},
    {"normalized_shape", from_input},
    {"input_size", from_input},
    {"input_shape", from_input},
    {"keepdim", "operands align by name, so that no dimension of size 1 need be kept: leave it out"},
    {"keepdims", "operands align by name, so that no dimension of size 1 need be kept: leave it out"},
    {"inplace", "there are no values to overwrite: leave it out"},
    {"betas", "they are two options here: `beta1: 0.9, beta2: 0.999`"},
};

constexpr std::string_view modules[] = {"nn", "F", "torch", "np", "numpy", "jnp", "jax", "tf", "keras", "layers", "optim", "functional", "math", "flax"};

}  // namespace

std::string familiar_name_help(std::string_view name) {
  for (const Renamed& r : renamed)
    if (r.there == name) return fmt::format("`{}` is called `{}` here", name, r.here);
  for (const Advice& a : advice)
    if (a.there == name) return std::string(a.instead);
  return {};
}

std::string familiar_option(std::string_view name, const std::vector<std::string>& own) {
  for (const Renamed& r : options)
    if (r.there == name && std::find(own.begin(), own.end(), r.here) != own.end()) return std::string(r.here);
  return {};
}

std::string familiar_option_help(std::string_view name) {
  for (const Advice& a : option_advice)
    if (a.there == name) return std::string(a.instead);
  return {};
}

std::string familiar_path_help(std::string_view before, std::string_view name) {
  const std::string help = familiar_name_help(name);
  if (std::find(std::begin(modules), std::end(modules), before) != std::end(modules))
    return help.empty() ? fmt::format("names stand by themselves: write `{}`", name.empty() ? "name" : name)
                        : fmt::format("names stand by themselves, without `{}.`: {}", before, help);
  if (!help.empty()) return fmt::format("there are no methods: {}", help);
  return "there are no methods: write `f(x)` or `x |> f`";
}

}  // namespace nnc
