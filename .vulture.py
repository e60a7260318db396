"""What vulture at 60 % takes for dead and is not. It reads this file as code that uses these names."""

# called by Python, notebooks, PyTorch, Ray Tune, tokenizers, lark, evaluate or transformers
__getattr__, __dir__
_._repr_html_
_.__call__
_.forward
_.setup, _.step, _.cleanup, _.reset_config, _.save_checkpoint, _.load_checkpoint
_.on_trial_complete, _.on_step_end, _.on_experiment_end, iteration, total_num_samples, checkpoint_dir
_.pre_tokenizer, _.post_processor, _.normalizer, _.LoraConfig, attention_mask
_.either, _.arithmetic, _.negative, _.during, _.tally, _.tally_of_only, _.endpoint
_._cache_file
_._info, _._compute, Accuracy, Bleu, Kappa, MacroF1, Rouge
tslm

# for users of the library
from_residuals
_.from_normal, _.from_law
_.to_states
Enumerable
evaluated
fit_opinion_weights
cross_fit, fit_verifier
_.to_arrow
FunctionTwist
_.to_units, longest_run, deviation, affects
_.owner_restarts
std_ddof, entropy_se, first_pair, energy, readable, distinct

# exact values that tests compare with
_.soft_values, _.level_sigma, MixtureDenoiser
_.reaches_root
