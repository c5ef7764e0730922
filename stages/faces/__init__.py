"""Cell -> every face on the film's detection grid."""
